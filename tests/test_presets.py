"""Quality presets: what each means for each kind of package, which is taken by itself, and what wins."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dub_clips import BOX, picture, steady, write_clip, write_package, write_speech
from typer.testing import CliRunner

from bootdub.cli.main import app
from common.diffusion.config import DiffusionConfig
from common.diffusion.options import SamplingOptions
from common.diffusion.windows import WindowRule, plan_windows, saved_by_short_windows
from common.errors import UserError
from common.geometry import GeometryConfig
from common.models.conventions import RELEASE, TBDUB_STUDENT, Conventions
from common.models.package_info import PackageInfo, read_info, write_info
from common.models.speed import SpeedConfig
from common.own_mouths.config import Renderer
from common.speech.config import SpeechConfig
from stage2_dubber.dub.doctor import DubEstimate
from stage2_dubber.dub.pipeline import DubPipeline
from stage2_dubber.dub.presets.choose import settings_for
from stage2_dubber.dub.presets.names import Preset
from stage2_dubber.dub.presets.table import preset_settings
from stage2_dubber.dub.request import DubRequest

XDUB = DiffusionConfig(reference_scale=2.5, audio_scale=10.0)
UNGUIDED: dict[str, Any] = {"reference_scale": 1.0, "audio_scale": 1.0}
CACHED = {"step_cache": "taylorseer-lite", "cache_interval": 2}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_package(tmp_path_factory.mktemp("models") / "toy")


def described(
    folder: Path,
    diffusion: DiffusionConfig,
    conventions: Conventions | None = None,
    renderer: Renderer = Renderer.editor,
    steps: list[int] | None = None,
) -> Path:
    """A package of which only what it says of itself is there."""
    info = PackageInfo(
        stage=2,
        phase="released",
        geometry=GeometryConfig(),
        speech=SpeechConfig(),
        diffusion=diffusion,
        conventions=conventions or Conventions(),
        renderer=renderer,
        training={"distill": {"steps": steps}} if steps else {},
    )
    write_info(folder, info)
    return folder


@pytest.mark.parametrize(
    ("given", "draft", "best"),
    [
        (
            {"diffusion": XDUB, "conventions": RELEASE},
            {"num_steps": 12, "short_windows": True, **CACHED},
            {"num_steps": 50},
        ),
        ({"diffusion": replace(XDUB, num_steps=12)}, {"num_steps": 5, **CACHED}, {"num_steps": 20}),
        (
            {"diffusion": replace(XDUB, num_steps=12, windows="multidiffusion")},
            {"num_steps": 5},
            {"num_steps": 20},
        ),
        ({"diffusion": replace(XDUB, num_steps=3)}, {"num_steps": 3, **CACHED}, {"num_steps": 5}),
        (
            {"diffusion": DiffusionConfig(num_steps=2, shift=1.0, **UNGUIDED), "conventions": TBDUB_STUDENT},
            {"short_windows": True},
            {},
        ),
        (
            {"diffusion": DiffusionConfig(num_steps=4, passes=2, **UNGUIDED), "steps": [2, 4, 8]},
            {"num_steps": 2, "passes": 1},
            {"num_steps": 8},
        ),
        (
            {"diffusion": DiffusionConfig(num_steps=2, **UNGUIDED), "renderer": Renderer.auto},
            {"renderer": "own-mouths"},
            {},
        ),
    ],
)
def test_what_presets_mean(
    tmp_path: Path, given: dict[str, Any], draft: dict[str, Any], best: dict[str, Any]
) -> None:
    folder = described(tmp_path, **given)
    assert preset_settings(Preset.draft, folder).changes == draft
    assert preset_settings(Preset.standard, folder).changes == {}
    # There are no weights: the model is a small one.
    assert preset_settings(Preset.best, folder).changes == best | {"dtype": "float32"}


def test_large_models_stay_in_the_format_they_are_published_in(tmp_path: Path) -> None:
    folder = described(tmp_path, XDUB)
    (folder / "transformer").mkdir()
    with (folder / "transformer" / "a.safetensors").open("wb") as file:
        file.truncate(2**30)
    assert preset_settings(Preset.best, folder).dtype == "auto"


@pytest.mark.parametrize(
    ("found", "preset", "offload", "words"),
    [
        (
            {"on_gpu": True, "fits": True, "seconds": 900.0},
            Preset.standard,
            False,
            "25.0 GiB, which are free",
        ),
        ({"on_gpu": True, "offloaded": True}, Preset.standard, True, "with --offload alone"),
        ({"on_gpu": True}, Preset.draft, True, "more than is free"),
        ({"fits": True, "seconds": 30.0}, Preset.standard, False, "which are free"),
        ({"fits": True, "seconds": 9000.0}, Preset.draft, False, "9,000 s per second"),
        ({}, Preset.draft, False, "more than is free"),
    ],
)
def test_the_default_follows_device_and_memory(
    tmp_path: Path, found: dict[str, Any], preset: Preset, offload: bool, words: str
) -> None:
    estimate = DubEstimate(
        "x",
        found.get("on_gpu", False),
        30,
        3,
        20.0,
        5.0,
        found.get("fits", False),
        found.get("offloaded", False),
        found.get("seconds", 1.0),
    )
    chosen = settings_for(estimate, described(tmp_path, XDUB))
    assert (chosen.preset, chosen.speed.get("offload", False)) == (preset, offload)
    assert words in chosen.reason


def test_what_is_said_comes_before_the_preset(tmp_path: Path) -> None:
    draft = preset_settings(Preset.draft, described(tmp_path, replace(XDUB, passes=1), RELEASE))
    request = DubRequest.of("v", "a", "o.mp4", num_steps=7, renderer="editor")
    assert draft.applied(request) == request
    assert draft.applied(replace(request, sampling=SamplingOptions(seed=3))).sampling == SamplingOptions(
        seed=3, num_steps=12
    )
    speed = draft.with_speed(SpeedConfig(step_cache="first-block"))
    assert speed == SpeedConfig(step_cache="first-block", cache_interval=2, short_windows=True)


def _dub(tmp_path: Path, model: Path, *words: str) -> Any:
    video = write_clip(tmp_path / "v.mp4", steady(14, 25))
    audio = write_speech(tmp_path / "a.wav", 0.56)
    place = ",".join(str(round(value)) for value in BOX)
    given = ["--video", video, "--audio", audio, "--output", tmp_path / "o.mp4", "--model", model]
    return CliRunner().invoke(
        app, ["dub", *map(str, given), "--box", place, "--device", "cpu", *words], catch_exceptions=False
    )


def test_a_dry_run_tells_what_a_preset_amounts_to(tmp_path: Path, model: Path) -> None:
    said = _dub(tmp_path, model, "--dry-run").stdout
    assert "preset    standard (a small model): as the package says\n" in said
    said = _dub(tmp_path, model, "--dry-run", "--preset", "best").stdout
    assert "preset    best (as asked for): num_steps 3, dtype float32\n" in said
    assert "1 x 3 steps" in said and "dtype     float32\n" in said
    said = _dub(
        tmp_path, model, "--dry-run", "--preset", "draft", "--cache", "none", "--num-steps", "9"
    ).stdout
    assert "1 x 9 steps" in said and "speed     cache_interval 2\n" in said
    said = _dub(tmp_path, model, "--dry-run", "--preset", "draft").stdout
    assert "speed     step_cache taylorseer-lite, cache_interval 2\n" in said
    assert _dub(tmp_path, model, "--preset", "superb").exit_code == 2


def test_a_dub_and_the_pipeline_follow_the_preset(tmp_path: Path, model: Path) -> None:
    done = _dub(tmp_path, model, "--preset", "best")
    assert done.exit_code == 0 and "preset best (as asked for)" in done.stderr, done.stderr
    crops = np.stack([picture(index, 32, 32) for index in range(13)])
    speech = np.sin(np.arange(16000) / 20).astype(np.float32)

    def edited(preset: str | None, **options: Any) -> np.ndarray:
        pipeline = DubPipeline.from_pretrained(model, dtype="float32", preset=preset)
        return pipeline.edit_crops(crops, speech, sampling=SamplingOptions(**options))

    exact = edited(None)
    assert np.array_equal(edited("standard"), exact) and np.array_equal(edited("auto"), exact)
    assert np.array_equal(edited("best"), edited(None, num_steps=3))
    assert not np.array_equal(edited("best"), exact)
    assert np.array_equal(edited("best", num_steps=2), exact)
    with pytest.raises(UserError, match="no preset 'superb'"):
        edited("superb")


@pytest.mark.parametrize("rule", [WindowRule.full, WindowRule.pre_rolled])
@pytest.mark.parametrize("count", [1, 5, 13, 14, 40])
def test_short_windows_cover_the_clip_as_full_ones_do(rule: WindowRule, count: int) -> None:
    full, short = (plan_windows(count, 13, 5, rule, short) for short in (False, True))
    assert len(short) == len(full)
    assert [window.new_from for window in short] == [window.new_from for window in full]
    shown = [index for window in short for index in window.indices()[window.new]]
    assert shown == list(range(count))
    saved = 1 - sum(window.length for window in short) / (13 * len(full))
    assert saved_by_short_windows(count, 13, 5, rule) == pytest.approx(saved) and saved >= 0


def test_short_windows_are_a_switch_of_packages_with_full_ones(tmp_path: Path, model: Path) -> None:
    released = write_package(tmp_path / "released")
    write_info(released, replace(read_info(released), conventions=RELEASE))
    said = _dub(tmp_path, released, "--dry-run").stdout
    assert "in 2 of at most 13 frames" in said
    assert "short windows save 15% of the frames that the model sees" in said  # 13 + 9 instead of 13 + 13
    said = _dub(tmp_path, released, "--dry-run", "--short-windows").stdout
    assert "speed     short_windows True\n" in said and "short windows save" not in said
    for words in ((), ("--dry-run",)):
        refused = _dub(tmp_path, model, "--short-windows", *words)
        assert refused.exit_code == 2 and "speed.short_windows changes nothing here" in refused.stderr
    assert _dub(tmp_path, released, "--short-windows", "--renderer", "editor").exit_code == 0
