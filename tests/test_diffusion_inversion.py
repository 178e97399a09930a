"""sampler start: the source's inversion instead of noise, from known velocities to whole dubs."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dub_clips import BOX, picture, write_package, write_speech
from stage1_clips import write_config
from typer.testing import CliRunner

from bootdub.cli.main import app
from common.diffusion.config import DiffusionConfig
from common.diffusion.flow import FlowMatching
from common.diffusion.guidance import Guidance
from common.diffusion.inversion import Inversion
from common.diffusion.sampler import EulerSampler
from common.media import write_video
from common.models.conditions import ModelConditions
from common.models.package_info import read_info, write_info
from common.models.prediction import as_velocity
from stage1_generator.synthesize import main as synthesize
from stage2_dubber.dub.pipeline import DubPipeline

SHAPE = (1, 4, 3, 4, 6)


class Drift:
    """A model with the same velocity everywhere, plus what is said."""

    def __init__(self) -> None:
        self.levels: list[float] = []

    def __call__(
        self, latents: torch.Tensor, timestep: torch.Tensor, conditions: ModelConditions
    ) -> torch.Tensor:
        self.levels.append(float(timestep[0]) / 1000)
        return torch.full_like(latents, 0.5) + conditions.audio_features.mean()


def _sampler(**more: Any) -> EulerSampler:
    return EulerSampler(FlowMatching(3.0), Guidance(1, 1, dynamic=False), num_steps=4, **more)


def _conditions() -> tuple[torch.Tensor, ModelConditions]:
    generator = torch.Generator().manual_seed(0)
    noise, clean = (torch.randn(SHAPE, generator=generator) for _ in range(2))
    return noise, ModelConditions(torch.ones(1, 3, 8, 6), clean)


def test_the_source_comes_back_where_the_speech_is_its_own() -> None:
    noise, given = _conditions()
    model, sampler = Drift(), _sampler()
    start = Inversion(5, 1.0).invert(sampler, model, noise, given)
    torch.testing.assert_close(start, given.reference + 1.5)
    torch.testing.assert_close(sampler.sample(model, start, given), given.reference)
    other = replace(given, audio_features=torch.zeros(1, 3, 8, 6))
    torch.testing.assert_close(sampler.sample(model, start, other), given.reference + 1)


def test_without_strength_it_is_the_noise_and_no_call() -> None:
    noise, given = _conditions()
    model = Drift()
    start = Inversion(5, 0.0).invert(_sampler(), model, noise, given)
    torch.testing.assert_close(start, noise)
    assert not model.levels


def test_between_the_noise_pulls_stronger_the_nearer_the_end_is() -> None:
    noise, given = _conditions()
    model, seen, told = Drift(), [], []
    sampler = _sampler(before_step=seen.append)
    start = Inversion(6, 0.5).invert(sampler, model, noise, given, lambda *done: told.append(done))
    expected = given.reference
    for low, high in pairwise(sampler.flow.sigmas(6).flip(0).tolist()):
        expected = expected + (high - low) * (0.5 * 1.5 + 0.5 * (noise - expected) / (1 - low))
    torch.testing.assert_close(start, expected)
    assert model.levels == pytest.approx(seen) and seen == sorted(seen)
    assert seen[0] > 0 and seen[-1] == 1, "a step asks at the level that it leads to"
    assert told == [(number, 6) for number in range(1, 7)]


def test_a_model_that_predicts_its_source_with_an_error_is_not_blown_up() -> None:
    noise, given = _conditions()
    assert given.reference is not None
    error = 0.1 * torch.randn(SHAPE, generator=torch.Generator().manual_seed(3))

    def model(latents: torch.Tensor, timestep: torch.Tensor, conditions: ModelConditions) -> torch.Tensor:
        assert conditions.reference is not None
        return as_velocity("edit", error, latents, timestep, conditions.reference)

    for steps in (1, 2, 8):
        for strength in (0.5, 1.0):
            start = Inversion(steps, strength).invert(_sampler(), model, noise, given)
            assert start.std() < 1.2 * max(noise.std(), given.reference.std())


def test_a_reference_that_is_not_aligned_is_refused() -> None:
    noise, given = _conditions()
    with pytest.raises(ValueError, match="aligned"):
        Inversion(2, 1.0).invert(_sampler(), Drift(), noise[:, :, :1], given)
    assert Inversion.of(DiffusionConfig()) is None
    assert Inversion.of(DiffusionConfig(start_from="inversion", num_steps=7)) == Inversion(7, 0.5)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package, two videos of the same pictures with other sound, one without, and speech."""
    folder = tmp_path_factory.mktemp("inversion")
    write_package(folder / "model")
    frames = np.stack([picture(index) for index in range(18)])
    for name, seconds in (("one", 0.7), ("two", 0.3)):
        write_speech(folder / f"{name}.wav", seconds)
        write_video(folder / f"{name}.mkv", frames, rate=25, audio_from=folder / f"{name}.wav")
    write_video(folder / "silent.mkv", frames, rate=25)
    write_speech(folder / "speech.wav", 0.7)
    return folder


def _dub(work: Path, video: str, *words: str, model: str = "model") -> tuple[int, str, bytes]:
    output = work / "out.mkv"
    given = ["--video", work / f"{video}.mkv", "--audio", work / "speech.wav", "--output", output]
    box = ["--box", ",".join(str(round(value)) for value in BOX), "--lossless", "--overwrite"]
    done = CliRunner().invoke(app, ["dub", *map(str, given), "--model", str(work / model), *box, *words])
    return done.exit_code, done.stdout + done.stderr, output.read_bytes() if output.is_file() else b""


def _pictures(work: Path, *words: str, **more: str) -> bytes:
    code, text, _ = _dub(work, *words, **more)
    assert code == 0, text
    from common.media import read_frames

    return read_frames(work / "out.mkv").tobytes()


def test_a_dub_starts_from_what_the_source_says(work: Path) -> None:
    inversion = ["--start-from", "inversion", "--inversion-steps", "3"]
    plain = _pictures(work, "one")
    assert _pictures(work, "two") == plain, "the sound of the source is not heard without an inversion"
    one, two = (_pictures(work, name, *inversion) for name in ("one", "two"))
    assert plain != one != two != plain
    assert _pictures(work, "one", *inversion, "--inversion-strength", "1") != one


def test_a_package_says_what_it_starts_from(work: Path) -> None:
    own = write_package(work / "own")
    info = read_info(own)
    diffusion = replace(info.diffusion, start_from="inversion", inversion_steps=3)
    write_info(own, replace(info, diffusion=diffusion))
    assert read_info(own).diffusion == diffusion
    by_option = _pictures(work, "one", "--start-from", "inversion", "--inversion-steps", "3")
    assert _pictures(work, "one", model="own") == by_option
    assert _pictures(work, "one", "--start-from", "noise", model="own") == _pictures(work, "one")
    crops = np.zeros((5, 32, 32, 3), np.uint8)
    with pytest.raises(ValueError, match="what the source says"):
        DubPipeline.from_pretrained(own).edit_crops(crops, np.zeros(3200, np.float32))


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
@pytest.mark.parametrize(
    ("video", "words", "message"),
    [
        ("silent", ["--start-from", "inversion"], "has no sound"),
        ("one", ["--inversion-strength", "0.3"], "--inversion-strength is about --start-from inversion"),
        ("one", ["--window-stride", "4"], "--window-stride is about --windows multidiffusion"),
        ("one", ["--start-from", "inversion", "--length", "loop"], "--length loop"),
    ],
)
def test_what_makes_no_sense_is_refused_before_the_work(
    work: Path, video: str, words: list[str], message: str, dry: list[str]
) -> None:
    if "--length" in words:
        write_speech(work / "speech.wav", 0.9)
    code, text, _ = _dub(work, video, *words, *dry)
    write_speech(work / "speech.wav", 0.7)
    assert code == 2 and message in " ".join(text.split())


def test_the_plan_counts_its_steps(work: Path) -> None:
    words = [
        "--start-from",
        "inversion",
        "--inversion-steps",
        "3",
        "--inversion-strength",
        "0.25",
        "--dry-run",
    ]
    code, text, _ = _dub(work, "one", *words)
    assert code == 0 and "from 3 steps of inversion of strength 0.25" in text
    assert "in 2 of at most 13 frames, 10 sampler steps" in text


def test_the_generator_is_not_told_hidden_lips(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = write_config(tmp_path, tmp_path, tmp_path / "work", "diffusion.start_from=inversion")
    assert synthesize([*words, "--dry-run"]) == 2
    assert "diffusion.start_from must be noise in stage 1" in capsys.readouterr().err
