"""windows=multidiffusion: velocities averaged over windows that overlap, from known means to whole dubs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from dub_clips import BOX, steady, write_clip, write_package, write_speech
from model_toys import called, tiny_codec, tiny_inputs, tiny_transformer
from typer.testing import CliRunner

from bootdub.cli.main import app
from common.diffusion.config import DiffusionConfig
from common.diffusion.multidiffusion import MultiDiffusion, check_multidiffusion
from common.errors import UserError
from common.geometry import GeometryConfig
from common.models.conditions import ModelConditions
from common.models.speed import SpeedConfig
from stage1_generator.generator.sampling import CompanionGenerator, GenerationJob

GEOMETRY = GeometryConfig(crop_size=32, clip_frames=13)


def test_windows_cover_a_section_and_the_last_one_fits() -> None:
    assert MultiDiffusion(4, 2, 41).starts(11) == [0, 2, 4, 6, 7]
    assert MultiDiffusion(4, 4, 41).starts(8) == [0, 4]
    assert MultiDiffusion(4, 2, 41).starts(3) == [0]
    config = DiffusionConfig(windows="multidiffusion", window_stride=4)
    assert MultiDiffusion.of(config, GEOMETRY) == MultiDiffusion(4, 1, 121)
    assert MultiDiffusion.of(DiffusionConfig(windows="multidiffusion"), GEOMETRY) == MultiDiffusion(4, 2, 121)
    assert MultiDiffusion.of(DiffusionConfig(), GEOMETRY) is None


def test_a_velocity_is_the_mean_of_those_that_its_windows_give() -> None:
    calls: list[ModelConditions] = []

    def model(latents: torch.Tensor, timestep: torch.Tensor, conditions: ModelConditions) -> torch.Tensor:
        calls.append(conditions)
        return torch.full_like(latents, float(len(calls)))  # 1 in the first window, 2 in the second, ...

    frames = torch.arange(8.0)[None, None, :, None, None].expand(1, 4, 8, 2, 2)
    speech = torch.arange(8.0)[None, :, None, None].expand(1, 8, 8, 6)
    given = ModelConditions(speech, frames, condition_planes=frames + 1, motion=frames[:, :, :3])
    out = MultiDiffusion(4, 2, 29).over(model)(
        latents=frames, timestep=torch.tensor([500.0]), conditions=given
    )
    assert out[0, 0, :, 0, 0].tolist() == [1, 1, 1.5, 1.5, 2.5, 2.5, 3, 3]
    for start, seen in zip((0, 2, 4), calls, strict=True):
        shown = list(map(float, range(start, start + 4)))
        assert seen.reference is not None and seen.reference[0, 0, :, 0, 0].tolist() == shown
        assert seen.audio_features[0, :, 0, 0].tolist() == shown
        assert seen.condition_planes is not None and torch.equal(seen.condition_planes, seen.reference + 1)
    assert [call.motion_frames for call in calls] == [3, 1, 0] and calls[2].motion is None


def test_stills_are_a_condition_of_every_window() -> None:
    stills, masked = torch.randn(1, 4, 8, 2, 2), torch.randn(1, 4, 8, 2, 2)
    given = ModelConditions(torch.zeros(1, 8, 8, 6), stills, condition_planes=masked)
    seen: list[ModelConditions] = []

    def model(latents: torch.Tensor, timestep: torch.Tensor, conditions: ModelConditions) -> torch.Tensor:
        seen.append(conditions)
        return latents

    MultiDiffusion(4, 4, 29).over(model, stills=True)(
        latents=masked, timestep=torch.zeros(1), conditions=given
    )
    assert all(torch.equal(one.reference, stills) for one in seen)
    assert torch.equal(torch.cat([one.condition_planes for one in seen], dim=2), masked)


def test_a_clip_of_one_window_is_the_models_own() -> None:
    model, inputs = tiny_transformer(), called(tiny_inputs(1))
    with torch.no_grad():
        assert torch.equal(MultiDiffusion(3, 1, 41).over(model)(**inputs), model(**inputs))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"window_stride": 20}, "window_stride is 20"),
        ({"section_frames": 9}, "section_frames is 9"),
        ({"window_frames": 25, "section_frames": 21}, "one window of 25"),
    ],
)
def test_windows_that_make_no_sense_are_refused(changes: dict[str, int], message: str) -> None:
    config = DiffusionConfig(windows="multidiffusion", **changes)
    with pytest.raises(UserError, match=message):
        check_multidiffusion(config, GEOMETRY, SpeedConfig())


@pytest.mark.parametrize(
    ("name", "value"),
    [("windows", "many"), ("window_frames", 12), ("window_stride", 3), ("section_frames", 120)],
)
def test_senseless_settings_are_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(UserError, match=rf"diffusion\.{name}"):
        DiffusionConfig(**{name: value})


def test_older_results_keep_their_mark() -> None:
    assert not {"windows", "start_from"} & set(DiffusionConfig().identity())
    assert DiffusionConfig(windows="multidiffusion").identity()["windows"] == "multidiffusion"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("multidiffusion")
    write_package(folder / "model")
    write_clip(folder / "v.mkv", steady(30, 25), lossless=True)
    write_speech(folder / "a.wav", 1.2)
    return folder


def _dub(work: Path, *words: str) -> tuple[int, str]:
    given = ["--video", work / "v.mkv", "--audio", work / "a.wav", "--output", work / "o.mkv"]
    box = ["--box", ",".join(str(round(value)) for value in BOX), "--lossless", "--overwrite"]
    done = CliRunner().invoke(app, ["dub", *map(str, given), "--model", str(work / "model"), *box, *words])
    return done.exit_code, " ".join((done.stdout + done.stderr).split())


def test_dubs_by_both_kinds_of_windows(work: Path) -> None:
    def made(*words: str) -> bytes:
        code, text = _dub(work, *words)
        assert code == 0, text
        return (work / "o.mkv").read_bytes()

    plain = made()
    averaged = ["--windows", "multidiffusion"]
    assert made(*averaged, "--section-frames", "13") == plain, "a window alone in its section is as ever"
    sections = made(*averaged, "--section-frames", "21", "--window-stride", "4")
    whole = made(*averaged)
    assert plain != sections != whole != plain


def test_the_plan_says_windows_and_sections_and_what_cannot_be(work: Path) -> None:
    words = ["--windows", "multidiffusion", "--section-frames", "21", "--dry-run"]
    code, text = _dub(work, *words)
    assert code == 0 and "a step averages 2 windows of 13 frames in a section of" in text
    code, text = _dub(work, *words, "--cache", "first-block")
    assert code == 2 and "speed.step_cache=first-block keeps the steps of one window" in text
    code, text = _dub(work, *words[:2], "--cache", "first-block")
    assert code == 2 and "speed.step_cache=first-block keeps the steps of one window" in text


def test_companions_can_be_made_so_too() -> None:
    model = tiny_transformer(reference_layout="temporal", condition_channels=4)
    codec, random = tiny_codec(), np.random.default_rng(0)

    def made(**changes: object) -> np.ndarray:
        config = DiffusionConfig(num_steps=2, reference_scale=1.0, audio_scale=1.0, **changes)
        generator = CompanionGenerator(model, codec, config, GEOMETRY, extra_window=0, seed=0, feather=0.05)
        frames = np.random.default_rng(1).integers(0, 255, (21, 32, 32, 3)).astype(np.uint8)
        hidden = np.zeros((21, 32, 32), bool)
        hidden[:, 16:] = True
        job = GenerationJob("clip", frames, hidden, frames[:2], speech, 0)
        return generator.generate([job])[0]

    speech = random.normal(size=(60, 6)).astype(np.float32)
    plain = made()
    assert np.array_equal(made(windows="multidiffusion", section_frames=13), plain)
    assert not np.array_equal(made(windows="multidiffusion", section_frames=21), plain)
