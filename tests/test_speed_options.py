"""The speed section as users meet it: options of ``bootdub dub``, YAML files, the pipeline."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dub_clips import BOX, picture, steady, write_clip, write_package, write_speech
from typer.testing import CliRunner

from bootdub.cli.dub_options.speed import read_speed
from bootdub.cli.main import app
from common.diffusion.config import DiffusionConfig
from common.diffusion.options import SamplingOptions, resolve_sampling
from common.diffusion.sampler import EulerSampler
from common.errors import UserError
from common.models.package_info import read_info
from common.models.speed import SpeedConfig
from stage2_dubber.dub.pipeline import DubPipeline


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_package(tmp_path_factory.mktemp("models") / "toy")


def test_options_lie_over_files(tmp_path: Path) -> None:
    assert read_speed(None, compile=None) == SpeedConfig()
    file = tmp_path / "fast.yaml"
    file.write_text("speed:\n  step_cache: first-block\n  compile: true\n  guidance_interval: [0.3, 0.9]\n")
    speed = read_speed([file], compile=False, cache_threshold=0.1, guidance_interval="0.1,1")
    assert speed == SpeedConfig(step_cache="first-block", cache_threshold=0.1, guidance_interval=[0.1, 1.0])
    assert speed.changes() == {
        "guidance_interval": [0.1, 1.0],
        "step_cache": "first-block",
        "cache_threshold": 0.1,
    }
    file.write_text("speed:\n  stepcache: first-block\n")
    with pytest.raises(
        UserError, match=r"unknown key speed\.stepcache; the nearest valid key is speed\.step_cache"
    ):
        read_speed([file])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step_cache": "teacache"}, "speed.step_cache"),
        ({"guidance_branches": "all"}, "speed.guidance_branches"),
        ({"guidance_interval": "0.9,0.1"}, "speed.guidance_interval"),
        ({"guidance_interval": "0.1"}, "speed.guidance_interval"),
        ({"guidance_interval": "low,high"}, "speed.guidance_interval"),
        ({"cache_threshold": -1.0}, "speed.cache_threshold"),
        ({"cache_threshold": float("nan")}, "speed.cache_threshold"),
        ({"cache_interval": 0}, "speed.cache_interval"),
        ({"attention_backend": "_native_math"}, "speed.attention_backend"),
        ({"quantization": "int4"}, "speed.quantization"),
    ],
)
def test_nonsense_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_speed(None, **options)


def _dub(tmp_path: Path, model: Path, *words: str) -> Any:
    video = write_clip(tmp_path / "v.mp4", steady(14, 25))
    audio = write_speech(tmp_path / "a.wav", 0.56)
    place = ",".join(str(round(value)) for value in BOX)
    given = ["--video", video, "--audio", audio, "--output", tmp_path / "o.mp4", "--model", model]
    return CliRunner().invoke(
        app, ["dub", *map(str, given), "--box", place, "--device", "cpu", *words], catch_exceptions=False
    )


def test_a_dry_run_lists_the_switches(tmp_path: Path, model: Path) -> None:
    assert "speed     exact\n" in _dub(tmp_path, model, "--dry-run").stdout
    result = _dub(tmp_path, model, "--dry-run", "--cache", "first-block", "--branches", "batched")
    assert "speed     guidance_branches batched, step_cache first-block\n" in result.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--attention", "flash"], "speed.attention_backend=flash runs on CUDA devices only"),
        (["--offload"], "speed.offload"),
        (["--quantization", "fp8-dynamic"], "speed.quantization=fp8-dynamic needs a GPU"),
        (["--cache", "some"], "speed.step_cache is 'some'"),
    ],
)
@pytest.mark.parametrize("dry", [[], ["--dry-run"]], ids=["dub", "dry-run"])
def test_what_cannot_run_here_ends_with_one_sentence(
    tmp_path: Path, model: Path, words: list[str], message: str, dry: list[str]
) -> None:
    result = _dub(tmp_path, model, *words, *dry)
    assert result.exit_code == 2
    assert message in result.stderr and len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "o.mp4").exists()


def test_a_dub_with_switches_is_a_dub(tmp_path: Path, model: Path) -> None:
    words = ["--cache", "taylorseer-lite", "--branches", "batched", "--guidance-interval", "0.2,0.95"]
    result = _dub(tmp_path, model, *words)
    assert result.exit_code == 0, result.stderr
    assert "14 of 14 frames dubbed" in result.stdout


def test_the_pipeline_follows_the_section(model: Path) -> None:
    crops = np.stack([picture(index, 32, 32) for index in range(21)])  # two windows
    speech = np.sin(np.arange(16000) / 20).astype(np.float32)

    def edited(**switches: Any) -> np.ndarray:
        pipeline = DubPipeline.from_pretrained(model, dtype="float32", speed=SpeedConfig(**switches))
        return pipeline.edit_crops(crops, speech, sampling=SamplingOptions(num_steps=6))

    exact = edited()
    assert np.array_equal(edited(guidance_interval=[0.0, 1.0], guidance_branches="sequential"), exact)
    assert np.array_equal(edited(step_cache="taylorseer-lite", cache_interval=1), exact)
    batched = np.abs(edited(guidance_branches="batched").astype(int) - exact)
    assert batched.max() <= 1
    assert not np.array_equal(edited(guidance_interval=[0.5, 0.9]), exact)


def test_the_number_of_steps_is_the_packages(model: Path) -> None:
    package = DubPipeline.from_pretrained(model).info.diffusion
    assert resolve_sampling(SamplingOptions(), package) == read_info(model).diffusion
    assert package.num_steps == 2
    assert resolve_sampling(SamplingOptions(num_steps=5), package) == replace(package, num_steps=5)
    assert DiffusionConfig().num_steps == 30  # as released; what a package of the public weights says


@pytest.mark.parametrize("shift", [None, 3.0])
def test_the_shift_reaches_the_sampler(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, shift: float | None
) -> None:
    levels: list[list[float]] = []
    sample = EulerSampler.sample

    def watched(sampler: EulerSampler, *given: Any) -> Any:
        levels.append(sampler.flow.sigmas(sampler.num_steps).tolist())
        return sample(sampler, *given)

    monkeypatch.setattr(EulerSampler, "sample", watched)
    words = [] if shift is None else ["--shift", str(shift)]
    assert f"shift {shift or 5:g}," in _dub(tmp_path, model, *words, "--dry-run").stdout
    assert _dub(tmp_path, model, *words).exit_code == 0
    used = shift or 5.0  # as the package says
    middle = used * 0.5 / (1 + (used - 1) * 0.5)
    assert levels and all(one == pytest.approx([1.0, middle, 0.0]) for one in levels)
