"""A model that refines frames of own mouths: its training, its package, and dubs that it refines."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from dub_clips import write_package, write_speech
from own_mouth_clips import Talker, talker, write_talker
from safetensors.numpy import save_file
from training_toys import run_editor, saved, stage2_config, toy_vae, write_pairs
from typer.testing import CliRunner

from bootdub.cli.main import app
from common.errors import UserError
from common.face.masks import mouth_mask
from common.face.mediapipe_backend import MediapipeDetector
from common.face.types import landmarks_box
from common.lip_shapes.encoder import LipEncoder
from common.lip_shapes.model import LipShapePredictor
from common.media import read_frames
from common.models.package import load_package, save_package
from common.models.package_info import ModelTask, read_info, write_info
from common.own_mouths.config import OwnMouthsConfig
from common.own_mouths.place import FramePlacer
from common.own_mouths.plan import MouthPlan, MouthPlanner
from common.own_mouths.planes import CONDITION_CHANNELS
from common.training.draws import Draw
from common.training.launch import open_shards
from common.training.loading import Assemble
from evaluation.systems import build_systems
from stage2_dubber.adaptation.describe import adaptable
from stage2_dubber.config import check
from stage2_dubber.dub.pipeline import DubPipeline
from stage2_dubber.dub.refining.own_mouths import OwnMouthRefiner
from stage2_dubber.training.strategy import EditorStrategy

OWN = [
    "data.own_mouths=true",
    f"model.condition_channels={CONDITION_CHANNELS}",
    "model.prediction=edit",
    "diffusion.reference_scale=1",
]
FRAMES = 24
PLAIN = OwnMouthsConfig(occluders=False)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    toy_vae(tmp_path)
    write_pairs(tmp_path / "pairs", own_mouths=True)
    return tmp_path


def test_training_reaches_the_weights_of_every_plane_and_goes_on(work: Path) -> None:
    words = [*OWN, "train.lr_schedule=constant", "train.learning_rate=0.01", "train.weight_decay=0"]
    run_editor(work, *words, "train.max_steps=3", f"train.output={work / 'whole'}")
    run_editor(work, *words, "train.max_steps=1", f"train.output={work / 'cut'}")
    before = saved(work / "cut", 1)["patch_embedding.weight"]
    cut = run_editor(work, *words, "train.max_steps=3", f"train.output={work / 'cut'}")
    first, second = (saved(work / name, 3) for name in ("whole", "cut"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    moved = (first["patch_embedding.weight"] - before).abs().amax(dim=(0, 2, 3, 4))
    assert len(moved) == 4 + CONDITION_CHANNELS and (moved > 0).all()

    content = json.loads((cut.package / "bootdub.json").read_text())
    assert content["task"] == "refine_own_mouths" and "lip_resolution" not in content
    package = load_package(cut.package)
    assert package.info.task is ModelTask.refine_own_mouths
    assert package.transformer.condition_channels == CONDITION_CHANNELS
    save_package(work / "again", package.info, package.transformer, package.codec)
    assert read_info(work / "again") == package.info

    with pytest.raises(UserError, match="a model for another task"):
        run_editor(
            work, f"train.init_from={cut.package}", "model.prediction=edit", f"train.output={work / 'x'}"
        )
    with pytest.raises(UserError, match="only editors of stage 2 can be adapted"):
        adaptable(cut.package)
    with pytest.raises(UserError, match="the model refines frames that own mouths draw"):
        DubPipeline.from_pretrained(cut.package)


def test_an_editor_is_trained_on_the_same_pairs_and_a_refiner_goes_on_from_it(work: Path) -> None:
    editor = run_editor(work, "model.prediction=edit", "train.max_steps=1", f"train.output={work / 'editor'}")
    words = [*OWN, f"train.init_from={editor.package}", "train.max_steps=1"]
    refiner = run_editor(work, *words, f"train.output={work / 'refiner'}")
    assert [read_info(one.package).task for one in (editor, refiner)] == [
        ModelTask.edit,
        ModelTask.refine_own_mouths,
    ]


def test_the_model_is_told_what_the_samples_say(work: Path) -> None:
    config = stage2_config(work, *OWN, "train.lip_window=[1,1]", "train.lip_window_share=1")
    dataset = open_shards(config.data)
    strategy = EditorStrategy(config, dataset)
    sample = dataset.sample(2)
    inputs = strategy.prepare(Assemble(9, 0)([(Draw(2, 0, 0), sample)]), torch.device("cpu"))
    planes, whole = inputs.conditions.condition_planes, inputs.batch.reliability
    assert planes is not None and whole is not None
    assert planes.shape == (1, CONDITION_CHANNELS, 3, 2, 2) and whole.shape == (1, 3, 2, 2)
    torch.testing.assert_close(planes[:, 0], whole / 255)
    torch.testing.assert_close(planes[0, 1:8, 2, 0, 0], sample.arrays["lip_shapes"][5])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model.condition_channels=8"], "model.condition_channels is 8, but must be 29"),
        (["data.own_mouths=false"], "model.condition_channels is 29, but must be 0"),
        (["phase.own_references=0.5"], "phase.own_references is 0.5, but with data.own_mouths"),
        (["model.prediction=velocity"], "model.prediction is velocity"),
        (["diffusion.reference_scale=2"], "diffusion.reference_scale is 2.0"),
        (["diffusion.passes=2"], "diffusion.passes is 2, but with data.own_mouths it must be 1"),
        (["diffusion.start_from=inversion"], "diffusion.start_from is inversion"),
        (["data.degraded_lips.resolution=[8,16]"], "data.degraded_lips.resolution is"),
    ],
)
def test_settings_that_contradict_it_are_refused(work: Path, words: list[str], said: str) -> None:
    check(stage2_config(work, *OWN))
    with pytest.raises(UserError, match=said):
        check(stage2_config(work, *OWN, *words))


def test_pairs_that_say_nothing_of_own_mouths_are_refused(work: Path) -> None:
    write_pairs(work / "others")
    for more in (f"data.shards=[{work / 'pairs'},{work / 'others'}]", f"data.shards=[{work / 'others'}]"):
        with pytest.raises(UserError, match=r"others' are without reliability and lip_shapes"):
            run_editor(work, *OWN, more)
    held_out = [f"data.held_out=[{work / 'others'}]", "train.evaluate_every=1", "train.max_steps=1"]
    with pytest.raises(UserError, match="without reliability and lip_shapes"):
        run_editor(work, *OWN, *held_out)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An editor, refiners of own mouths without and with an effect, a predictor of lips, a clip, speech."""
    folder = tmp_path_factory.mktemp("refining own mouths")
    write_package(folder / "editor")
    for name in ("still", "moving"):
        write_package(folder / name, clip_frames=9, condition_channels=CONDITION_CHANNELS, prediction="edit")
        info = read_info(folder / name)
        diffusion = replace(info.diffusion, reference_scale=1.0)
        write_info(folder / name, replace(info, task=ModelTask.refine_own_mouths, diffusion=diffusion))
    package = load_package(folder / "still")
    torch.nn.init.zeros_(package.transformer.head.head.weight)  # as it is before any training
    save_package(folder / "still", package.info, package.transformer, package.codec)
    torch.manual_seed(0)
    LipShapePredictor(80, 16, 1, 0.0).save_pretrained(folder / "reader")
    write_talker(folder / "v.mkv", _clip())
    save_file({"landmarks": _clip().landmarks}, folder / "track.safetensors")
    write_speech(folder / "a.wav", FRAMES / 25)
    return folder


def _clip() -> Talker:
    return talker(count=FRAMES)


Dub = Callable[..., np.ndarray]


@pytest.fixture
def dub(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dub:
    monkeypatch.setattr("stage2_dubber.dub.models.shipped_lip_encoder", lambda: LipEncoder(folder / "reader"))
    pipeline = DubPipeline.from_pretrained(folder / "editor")

    def run(name: str, **options: Any) -> np.ndarray:
        output = tmp_path / f"{name}.mkv"
        given = {"track": folder / "track.safetensors", "renderer": "own-mouths", "own_mouths": PLAIN}
        words = {**given, "lossless": True, "num_steps": 1, "passes": 1, **options}
        pipeline(video=folder / "v.mkv", audio=folder / "a.wav", output=output, **words)
        return read_frames(output)

    return run


def test_a_model_that_has_learnt_nothing_changes_nothing(dub: Dub, folder: Path) -> None:
    plain = dub("plain")
    assert (plain != _clip().frames).any()
    np.testing.assert_array_equal(dub("still", refine=folder / "still"), plain)


def test_what_it_changes_lies_where_lips_are_laid_in(dub: Dub, folder: Path, tmp_path: Path) -> None:
    plain = dub("plain")
    given = {"refine": folder / "moving", "report": tmp_path / "r.json", "contact_sheet": tmp_path / "r.png"}
    refined = dub("moving", **given)
    changed = (refined != plain).any(axis=-1)
    region = mouth_mask(_clip().landmarks, 128)
    near = np.stack([cv2.dilate(one.astype(np.uint8), np.ones((25, 25))) for one in region]) > 0
    assert changed.any(axis=(1, 2)).all() and not (changed & ~near).any()
    assert json.loads((tmp_path / "r.json").read_text())["refined_by"] == str(folder / "moving")
    assert (tmp_path / "r.png").is_file()


def test_it_is_told_the_shapes_and_the_reliability_of_the_drawn_frames(
    dub: Dub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    planes = OwnMouthRefiner._planes

    def watched(self: OwnMouthRefiner, part: Any) -> torch.Tensor:
        told = planes(self, part)
        shapes = [self._renderer.lip_shape(min(part.window.start + i, FRAMES - 1)) for i in range(9)]
        np.testing.assert_allclose(told[0, 22:, :, 0, 0].T, np.stack(shapes)[[0, 4, 8]], atol=1e-5)
        seen.append(told)
        return told

    monkeypatch.setattr(OwnMouthRefiner, "_planes", watched)
    dub("told", refine=folder / "moving")
    assert len(seen) > 1 and all(one.shape == (1, CONDITION_CHANNELS, 3, 4, 4) for one in seen)
    reliability = torch.cat([one[:, 0] for one in seen])
    assert reliability.min() < 0.9 and reliability.max() == 1 and (reliability[..., 0, :] == 1).all()


def test_frames_that_own_mouths_do_not_draw_stay_as_they_are(
    dub: Dub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clip's middle is drawn by the editor, after passages over some frames."""
    plan = MouthPlanner.plan

    def reaching(self: MouthPlanner, *given: Any, **options: Any) -> MouthPlan:
        made = plan(self, *given, **options)
        reached = np.ones(len(made), bool)
        reached[8:17] = False
        return replace(made, reached=reached)

    monkeypatch.setattr(MouthPlanner, "plan", reaching)
    plain, refined = dub("plain", renderer="auto"), dub("refined", renderer="auto", refine=folder / "moving")
    changed = (plain != refined).any(axis=(1, 2, 3))
    assert changed[:8].all() and changed[17:].all() and not changed[8:17].any()


def test_a_clip_without_mouths_to_refine_is_refused(
    dub: Dub, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MediapipeDetector, "look_at", lambda *_: None)
    boxes = np.stack([landmarks_box(points) for points in _clip().landmarks]).astype(np.float32)
    save_file({"boxes": boxes}, tmp_path / "boxes.safetensors")
    given = {"renderer": "auto", "track": tmp_path / "boxes.safetensors"}
    with pytest.raises(UserError, match=r"v\.mkv' shows too few mouths .* leave --refine out"):
        dub("refined", refine=folder / "moving", **given)
    assert not (tmp_path / "refined.mkv").exists()


def test_what_lies_before_the_mouth_is_not_refined(
    dub: Dub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if a thing covered the left half of every picture: nothing is laid in there, nothing changes."""
    call = FramePlacer.__call__

    def covered(self: FramePlacer, frame: int, image: np.ndarray, keep: object, told: bool) -> Any:
        def left(roi: tuple[int, int, int, int]) -> np.ndarray:
            columns = (np.arange(roi[0], roi[2]) < 64).astype(np.float32)
            return np.repeat(columns[None], roi[3] - roi[1], axis=0)

        return call(self, frame, image, left, told)

    monkeypatch.setattr(FramePlacer, "__call__", covered)
    refined = dub("refined", refine=folder / "moving")
    changed = (refined != _clip().frames).any(axis=-1)
    assert changed[..., 70:].any() and not changed[..., :56].any()


def test_dry_run_names_it_and_other_jobs_are_refused_before_the_work(folder: Path, tmp_path: Path) -> None:
    files = {"video": folder / "v.mkv", "audio": folder / "a.wav", "output": tmp_path / "o.mkv"}
    words = ["dub", "--track", str(folder / "track.safetensors"), "--model", str(folder / "editor")]
    words += [word for name, file in files.items() for word in (f"--{name}", str(file))]

    def run(*more: str) -> Any:
        return CliRunner().invoke(app, [*words, "--refine", str(folder / "still"), *more])

    done = run("--renderer", "own-mouths", "--dry-run")
    assert done.exit_code == 0, done.stderr
    assert f"refine    {folder / 'still'}: frames of own mouths in 32 px crops" in done.stdout
    for more in (("--dry-run",), ()):
        done = run("--renderer", "editor", *more)
        assert done.exit_code == 2 and "they draw none with --renderer editor" in done.stderr
    assert not (tmp_path / "o.mkv").exists()
    (system,) = build_systems([f"{folder / 'editor'}?renderer=own-mouths&refine={folder / 'still'}"])
    assert system.name.endswith("still")
