"""Sampling options: what they change of a package, what they refuse, and the ways in which they are given."""

from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any

import pytest

from bootdub.cli.dub import dub
from common.diffusion.config import DiffusionConfig
from common.diffusion.options import SamplingOptions, resolve_sampling
from common.errors import UserError
from common.own_mouths.config import Renderer
from stage2_dubber.dub.compositing.options import Compositing
from stage2_dubber.dub.request import DubRequest

PACKAGE = DiffusionConfig(num_steps=4, passes=2, reference_scale=1.5, audio_scale=3.0)


def test_what_is_not_asked_for_stays_the_packages() -> None:
    assert resolve_sampling(SamplingOptions(seed=7), PACKAGE) == PACKAGE
    asked = SamplingOptions(num_steps=9, audio_scale=0.0)
    assert resolve_sampling(asked, PACKAGE) == replace(PACKAGE, num_steps=9, audio_scale=0.0)


def test_options_are_fields_of_the_diffusion_section() -> None:
    kinds = SamplingOptions.types()
    assert kinds.pop("seed") is int
    assert {name: type(getattr(PACKAGE, name)) for name in kinds} == kinds


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seed": -1}, "seed is -1"),
        ({"num_steps": 0}, "num_steps"),
        ({"passes": -1}, "passes"),
        ({"shift": 0.0}, "shift is 0"),
        ({"shift": float("inf")}, "shift is inf"),
        ({"audio_scale": float("nan")}, "audio_scale is nan"),
        ({"reference_scale": -1.0}, "reference_scale is -1"),
        ({"inversion_strength": float("nan")}, "inversion_strength is nan"),
    ],
)
def test_senseless_options_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        SamplingOptions(**values)


def test_a_request_takes_options_by_name() -> None:
    request = DubRequest.of(
        "a.mp4", "b.wav", "c.mp4", seed=3, num_steps=5, compositing="blend", renderer="auto", track="t.json"
    )
    assert request == DubRequest(
        Path("a.mp4"),
        Path("b.wav"),
        Path("c.mp4"),
        sampling=SamplingOptions(seed=3, num_steps=5),
        compositing=Compositing.blend,
        renderer=Renderer.auto,
        track=Path("t.json"),
    )
    given = SamplingOptions(seed=3, audio_scale=2.0)
    both = DubRequest.of("a.mp4", "b.wav", "c.mp4", sampling=given, num_steps=5)
    assert both.sampling == replace(given, num_steps=5)
    with pytest.raises(TypeError, match="'num_step'"):
        DubRequest.of("a.mp4", "b.wav", "c.mp4", num_step=5)
    with pytest.raises(UserError, match="no compositing 'glue'"):
        DubRequest.of("a.mp4", "b.wav", "c.mp4", compositing="glue")


def test_every_option_of_the_command_is_one_of_a_request_or_known_to_be_none() -> None:
    options = set(signature(dub).parameters)
    machine = {"model", "device", "preset", "dtype", "limit", "dry_run"}
    switches = {"speed", "branches", "guidance_interval", "cache", "cache_threshold", "cache_interval"}
    switches |= {"short_windows", "compile", "attention", "quantization", "offload"}
    assert options - DubRequest.option_names() == machine | switches
    assert DubRequest.option_names() - options == {"sampling", "timing", "own_mouths"}
