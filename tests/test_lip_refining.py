"""Super-resolution of lips: pairs for it, its training, and dubs whose lips it refines."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from dub_clips import BOX, steady, write_clip, write_package, write_speech
from own_mouth_clips import talker, write_talker
from safetensors.numpy import save_file
from training_toys import run_editor, saved, stage2_config, toy_face, toy_vae, write_pairs, write_raw_pairs
from typer.testing import CliRunner

from bootdub.cli.main import app
from bootdub.serve.dubbing import JobDubber
from bootdub.serve.job_options import options_of_upload
from bootdub.serve.schemas import GenerationSettings
from bootdub.serve.settings import ServeSettings
from bootdub.serve.store import JobStore
from common.data.config import DegradedLipsConfig
from common.data.degraded_lips import degrade_lips, draw_degraded_lips, mouth_opacity
from common.errors import UserError
from common.face.masks import lip_mask, mouth_mask
from common.files import read_json
from common.lip_shapes.encoder import LipEncoder
from common.lip_shapes.model import LipShapePredictor
from common.media import read_frames
from common.models.package_info import ModelTask, read_info, write_info
from common.training.draws import Draw
from common.training.launch import open_shards
from common.training.loading import Assemble
from evaluation.manifest import Case, Kind
from evaluation.systems import build_systems
from stage2_dubber.config import check
from stage2_dubber.distillation.config import StudentConfig, check_student
from stage2_dubber.dub import outputs
from stage2_dubber.dub.editing.edit import Edit
from stage2_dubber.dub.editing.editor import WindowEditor
from stage2_dubber.dub.inputs import check_request
from stage2_dubber.dub.parts import PartDubber
from stage2_dubber.dub.pipeline import DubPipeline
from stage2_dubber.dub.refining import lips, refiner
from stage2_dubber.dub.request import DubRequest
from stage2_dubber.dub.resume.folder import job_folder
from stage2_dubber.training.strategy import EditorStrategy

S, N, FRAMES = 64, 5, 19
REFINES = ["data.degraded_lips.resolution=[8,16]", "diffusion.audio_scale=1"]


def _face(size: int = S) -> np.ndarray:
    """(N, 68, 3) of a head that does not move."""
    return np.stack([2 * toy_face()] * N) * (size / 64)


def _noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (N, S, S, 3), np.uint8)


def test_the_region_holds_the_lips_and_where_they_can_open() -> None:
    landmarks = _face()
    region = mouth_mask(landmarks, S)
    assert region[lip_mask(landmarks, S)].all() and region.mean() < 0.2
    # Closed lips do not say where open ones are: that is part of the region all the same, down to the chin.
    nose, lip, chin = landmarks[0, [30, 57, 8], 1]
    rows = np.flatnonzero(region[0].any(axis=1))
    assert rows[0] > nose and (lip + chin) / 2 < rows[-1] < chin + 2
    assert not mouth_mask(np.full((2, 68, 3), np.nan), S).any()


def test_lips_lose_what_their_resolution_cannot_show_and_all_else_stays() -> None:
    opacity = mouth_opacity(_face(), S)
    inside, outside = opacity == 1, opacity == 0
    assert inside.any() and outside.any()
    board = np.broadcast_to((np.indices((S, S)).sum(0) % 2 * 200)[None, ..., None], (N, S, S, 3))
    grey = degrade_lips(board.astype(np.uint8), opacity, S // 4)
    assert np.abs(grey[inside].astype(int) - 100).max() <= 2
    np.testing.assert_array_equal(grey[outside], board[outside])
    flat = np.full((N, S, S, 3), 77, np.uint8)
    np.testing.assert_array_equal(degrade_lips(flat, opacity, 8), flat)
    rows = np.broadcast_to(np.linspace(0, 252, S).round()[None, :, None, None], (N, S, S, 3)).astype(np.uint8)
    lost = np.abs(degrade_lips(rows, opacity, 16).astype(int) - rows)[inside]
    assert lost.max() <= 4, "a slope needs few pixels"


def test_a_repeated_frame_shows_the_lips_of_the_one_before() -> None:
    frames, opacity = _noise(), mouth_opacity(_face(), S)
    plain = degrade_lips(frames, opacity, 16)
    repeated = degrade_lips(frames, opacity, 16, np.array([False, True, False, True, True]))
    inside, outside = opacity[0] == 1, opacity[0] == 0
    for number, shown in enumerate((0, 0, 2, 2, 3)):
        np.testing.assert_array_equal(repeated[number][inside], plain[shown][inside])
        np.testing.assert_array_equal(repeated[number][outside], frames[number][outside])


def test_what_is_drawn_is_within_its_range_and_depends_on_the_generator_alone() -> None:
    frames, landmarks = _noise(), _face()
    opacity = mouth_opacity(landmarks, S)
    config = DegradedLipsConfig(resolution=[8, 11], repeated=0.0)
    possible = [degrade_lips(frames, opacity, side) for side in range(8, 12)]
    found = set()
    for seed in range(40):
        made = [
            draw_degraded_lips(frames, landmarks, torch.Generator().manual_seed(seed), config)
            for _ in range(2)
        ]
        np.testing.assert_array_equal(*made)
        found |= {side for side, one in enumerate(possible) if np.array_equal(one, made[0])}
    assert found == set(range(4))
    always = DegradedLipsConfig(resolution=[8, 8], repeated=1.0)
    made = draw_degraded_lips(frames, landmarks, torch.Generator().manual_seed(0), always)
    np.testing.assert_array_equal(
        made, degrade_lips(frames, opacity, 8, np.array([False, True, True, True, True]))
    )


@pytest.fixture
def work(tmp_path: Path, moving_frames: Callable[..., np.ndarray], tone: Callable[..., np.ndarray]) -> Path:
    toy_vae(tmp_path)
    landmarks = np.stack([toy_face()] * 13)
    write_raw_pairs(tmp_path / "pairs", 3, 13, moving_frames, tone, landmarks=landmarks)
    return tmp_path


def test_the_source_is_the_target_with_degraded_lips_and_nothing_is_heard(work: Path) -> None:
    config = stage2_config(work, *REFINES)
    dataset = open_shards(config.data)
    strategy = EditorStrategy(config, dataset)
    draw, sample = Draw(1, 3, 0), dataset.sample(1)
    batch = strategy.batch(Assemble(9, 0)([(draw, sample)]), torch.device("cpu"))
    generator = draw.generator(config.train.seed, "degraded lips")
    landmarks, degraded = sample.arrays["landmarks"].numpy(), config.data.degraded_lips
    encode = strategy.start.codec.encode_frames
    for first in (0, 4):  # the window is drawn, too
        target = sample.target[first : first + 9]
        if torch.allclose(encode(target[None]), batch.target_latents, atol=1e-5):
            source = draw_degraded_lips(target, landmarks[first : first + 9], generator, degraded)
            torch.testing.assert_close(batch.reference_latents, encode(source[None]), atol=1e-5, rtol=1e-4)
            break
    else:
        pytest.fail("the target is no window of the clip")
    assert not torch.equal(batch.reference_latents, batch.target_latents)
    assert not batch.audio_features.any()


def test_a_refiner_trains_resumes_and_says_what_it_is(work: Path) -> None:
    words = [*REFINES, "train.lr_schedule=constant", "train.global_batch_size=2"]
    run_editor(work, *words, "train.max_steps=2", f"train.output={work / 'whole'}")
    for steps in (1, 2):
        cut = run_editor(work, *words, f"train.max_steps={steps}", f"train.output={work / 'cut'}")
    first, second = (saved(work / name, 2) for name in ("whole", "cut"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    info = read_info(cut.package)
    assert info.lip_resolution == (8, 16)
    content = json.loads((cut.package / "bootdub.json").read_text())
    assert (content["task"], content["lip_resolution"]) == ("refine", [8, 16])

    other = ["data.degraded_lips.resolution=[8,17]", *words[1:]]
    with pytest.raises(UserError, match="made with degraded_lips"):
        run_editor(work, *other, "train.max_steps=3", f"train.output={work / 'cut'}")
    with pytest.raises(UserError, match="a model for another task"):
        run_editor(work, f"train.init_from={cut.package}", f"train.output={work / 'other'}")
    with pytest.raises(UserError, match="the model refines lips that another one has drawn"):
        DubPipeline.from_pretrained(cut.package)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("data.degraded_lips.resolution=[8,33]", "up to 33 pixels, but crops have 32"),
        ("diffusion.audio_scale=2", r"diffusion.audio_scale is 2.0, .* it must be 1"),
        ("diffusion.start_from=inversion", "start_from is inversion"),
        ("speech_augment.gain.probability=1", "speech_augment is about speech"),
    ],
)
def test_settings_that_mean_nothing_to_a_refiner_are_refused(tmp_path: Path, word: str, said: str) -> None:
    toy_vae(tmp_path)
    check(stage2_config(tmp_path, *REFINES))
    with pytest.raises(UserError, match=said):
        check(stage2_config(tmp_path, *REFINES, word))


def test_resolutions_and_cached_pairs_are_refused(work: Path) -> None:
    for sides in ("[8]", "[9,8]", "[0,8]"):
        with pytest.raises(UserError, match=r"degraded_lips\.resolution is"):
            stage2_config(work, f"data.degraded_lips.resolution={sides}")
    write_pairs(work / "cached")
    for shards in (f"[{work / 'cached'}]", f"[{work / 'pairs'},{work / 'cached'}]"):
        with pytest.raises(UserError, match="have cached latents: pack them without"):
            run_editor(work, *REFINES, f"data.shards={shards}")
    held_out = [f"data.held_out=[{work / 'cached'}]", "train.evaluate_every=1", "train.max_steps=1"]
    with pytest.raises(UserError, match="have cached latents: pack them without"):
        run_editor(work, *REFINES, *held_out)


def test_a_refiner_is_not_distilled(tmp_path: Path) -> None:
    config = StudentConfig()
    config.train.init_from, config.train.keep_adapters = "editor", False
    config.phase.name, config.train.drop_both, config.train.drop_audio = "student", 0, 0
    config.diffusion.reference_scale = config.diffusion.audio_scale = 1
    config.diffusion.num_steps = config.distill.steps[0]
    check_student(config)
    config.train.loss_region = "lips"
    with pytest.raises(UserError, match=r"train\.loss_region is"):
        check_student(config)
    config.train.loss_region = "clip"
    config.data.degraded_lips.resolution = [8, 16]
    with pytest.raises(UserError, match=r"data\.degraded_lips\.resolution is"):
        check_student(config)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("refining")
    write_package(folder / "editor")
    write_package(folder / "refiner", clip_frames=9)
    _refines(folder / "refiner")
    write_clip(folder / "v.mkv", steady(FRAMES, 30), lossless=True)
    write_speech(folder / "a.wav", 0.9)
    return folder


def _refines(package: Path) -> None:
    info = read_info(package)
    write_info(package, replace(info, task=ModelTask.refine, lip_resolution=(8, 16)))


def _dub(folder: Path, output: Path, **options: Any) -> np.ndarray:
    pipeline = DubPipeline.from_pretrained(folder / "editor")
    given = {"box": BOX, "lossless": True, "num_steps": 1, "passes": 1, **options}
    result = pipeline(video=folder / "v.mkv", audio=folder / "a.wav", output=output, **given)
    assert result.dubbed_frames == result.frames == FRAMES
    return read_frames(output)


class _Stub(WindowEditor):
    """Adds so many levels to every crop, instead of refining it; the picture of the edit counts nothing."""

    levels = 0

    def stream(self, crops: Iterator[np.ndarray], *_: Any) -> Iterator[Edit]:
        for crop in list(crops):
            yield Edit(crop, np.full(crop.shape, self.levels, np.float32))


def test_a_dub_changes_lips_alone_and_nothing_where_the_refiner_changes_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = _dub(folder, tmp_path / "plain.mkv")
    refined = _dub(
        folder,
        tmp_path / "r.mkv",
        refine=folder / "refiner",
        report=tmp_path / "r.json",
        contact_sheet=tmp_path / "r.png",
    )
    changed = np.abs(refined.astype(int) - plain).max(axis=(0, 3)) > 0
    x0, y0, x1, y1 = BOX
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    middle, width = (x0 + x1) / 2, x1 - x0
    assert rows[0] > y0 + 0.4 * (y1 - y0) and rows[-1] < y1 + 8, "below the nose, to the chin"
    assert columns[0] > middle - width / 2 and columns[-1] < middle + width / 2
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["refined_by"] == str(folder / "refiner")
    assert (tmp_path / "r.png").is_file()

    monkeypatch.setattr(refiner, "WindowEditor", _Stub)
    monkeypatch.setattr(lips, "degrade_lips", lambda frames, opacity, side: frames)
    same = _dub(folder, tmp_path / "same.mkv", refine=folder / "refiner")
    np.testing.assert_array_equal(same, plain)
    monkeypatch.setattr(_Stub, "levels", 20)
    lighter = _dub(folder, tmp_path / "lighter.mkv", refine=folder / "refiner").astype(int) - plain
    assert lighter.min() >= 0 and lighter.max() == 20
    assert not lighter[:, ~changed].any()


def test_a_refined_dub_goes_on_where_it_was_killed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _dub(folder, tmp_path / "whole.mkv", refine=folder / "refiner")
    monkeypatch.setattr(outputs, "PIECE_FRAMES", 8)
    sample, calls = refiner.WindowEditor._sampled, [0]

    class _Killed(BaseException):
        pass

    def dying(self: WindowEditor, *given: Any) -> torch.Tensor:
        calls[0] += 1
        if calls[0] == 5:
            raise _Killed
        return sample(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(WindowEditor, "_sampled", dying)
        with pytest.raises(_Killed):
            _dub(folder, tmp_path / "cut.mkv", refine=folder / "refiner")
    names = [path.name for path in tmp_path.rglob("window-*")]
    assert any("refined-" in name for name in names), names
    np.testing.assert_array_equal(_dub(folder, tmp_path / "cut.mkv", refine=folder / "refiner"), whole)


def test_dry_run_names_the_refiner_and_other_packages_are_refused(folder: Path, tmp_path: Path) -> None:
    place = ",".join(str(value) for value in BOX)
    given = ["--video", folder / "v.mkv", "--audio", folder / "a.wav", "--output", tmp_path / "o.mkv"]
    words = ["dub", *map(str, given), "--box", place, "--dry-run"]

    def run(model: str, refine: str) -> Any:
        return CliRunner().invoke(
            app, [*words, "--model", str(folder / model), "--refine", str(folder / refine)]
        )

    done = run("editor", "refiner")
    assert done.exit_code == 0, done.stderr
    assert f"refine    {folder / 'refiner'}: lips of 16 px in 32 px crops" in done.stdout
    for model, refine, said in (
        ("editor", "editor", "the model edits, but --refine wants one that refines lips"),
        ("editor", "nothing", "no model package there"),
        ("refiner", "refiner", "the model refines lips that another one has drawn"),
    ):
        done = run(model, refine)
        assert done.exit_code == 2 and said in done.stderr, done.stderr


def test_the_evaluation_measures_dubs_with_refined_lips(folder: Path, tmp_path: Path) -> None:
    words = f"{folder / 'editor'}?num_steps=1&passes=1"
    plain, refined = build_systems([words, f"{words}&refine={folder / 'refiner'}"])
    assert refined.name == f"{plain.name}-refiner" and refined.fingerprint != plain.fingerprint
    track = tmp_path / "track.json"
    track.write_text(json.dumps({"boxes": [list(BOX)] * FRAMES}))
    case = Case("c", folder / "v.mkv", folder / "a.wav", Kind.cross, track=track)
    shown = [
        read_frames(system.dub(case, case.video, tmp_path / f"{system.name}.mkv").path)
        for system in (plain, refined)
    ]
    assert np.abs(shown[0].astype(int) - shown[1]).max() > 0
    for other, said in (("editor", "wants one that refines lips"), ("nothing", "no model package there")):
        with pytest.raises(UserError, match=said):
            build_systems([f"{words}&refine={folder / other}"])


def test_a_service_refines_the_lips_of_all_its_dubs(folder: Path, tmp_path: Path) -> None:
    settings = ServeSettings(work=tmp_path / "work", model=folder / "editor", refine=folder / "refiner")
    store = JobStore(settings.work)
    wanted = GenerationSettings.model_validate({"options": {"box": list(BOX), "renderer": "editor"}})
    id = store.new_folder()
    for name, file in (("video.mkv", "v.mkv"), ("audio.wav", "a.wav")):
        shutil.copyfile(folder / file, store.job_folder(id) / name)
    store.add(options_of_upload(wanted, settings, "video.mkv", "audio.wav"), id=id, most=1)
    pipeline = DubPipeline.from_pretrained(folder / "editor")
    with store.claim() as job:
        assert job is not None
        JobDubber(settings, store, lambda preset: pipeline)(job, lambda *told: None)
    assert read_json(store.job_folder(id) / "report.json")["refined_by"] == str(folder / "refiner")
    with pytest.raises(UserError, match="wants one that refines lips"):
        replace(settings, refine=folder / "editor")


@pytest.mark.parametrize("command", ["serve", "ui"])
def test_the_refiner_of_a_service_is_checked_before_it_starts(
    folder: Path, tmp_path: Path, command: str
) -> None:
    words = [command, "--work", tmp_path, "--model", folder / "editor", "--refine", folder / "editor"]
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == 2 and "wants one that refines lips" in done.stderr, done.stderr


def test_a_job_with_refined_lips_is_another_job(folder: Path, tmp_path: Path) -> None:
    pipeline = DubPipeline.from_pretrained(folder / "editor")
    requests = [
        DubRequest.of(folder / "v.mkv", folder / "a.wav", tmp_path / "o.mkv", box=BOX, refine=refine)
        for refine in (None, folder / "refiner")
    ]
    inputs = check_request(requests[0])
    one, two = (pipeline.key(request, inputs) for request in requests)
    assert one != two
    write_package(tmp_path / "refiner", clip_frames=13)
    _refines(tmp_path / "refiner")
    other = DubRequest.of(
        folder / "v.mkv", folder / "a.wav", tmp_path / "o.mkv", box=BOX, refine=tmp_path / "refiner"
    )
    assert pipeline.key(other, inputs) not in (one, two)


def test_own_mouths_are_refined_too_and_their_stretches_are_not_divided(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = talker(count=14)
    write_talker(tmp_path / "talker.mkv", clip)
    save_file({"landmarks": clip.landmarks}, tmp_path / "track.safetensors")
    LipShapePredictor(80, 16, 1, 0.0).save_pretrained(tmp_path / "reader")
    reader = LipEncoder(tmp_path / "reader")
    monkeypatch.setattr("stage2_dubber.dub.models.shipped_lip_encoder", lambda: reader)
    monkeypatch.setattr(outputs, "PIECE_FRAMES", 5)
    pipeline = DubPipeline.from_pretrained(folder / "editor")
    given = {"track": tmp_path / "track.safetensors", "renderer": "own-mouths", "lossless": True}
    jobs = [
        DubRequest.of(tmp_path / "talker.mkv", folder / "a.wav", tmp_path / f"{name}.mkv", **given, **more)
        for name, more in (("plain", {}), ("refined", {"refine": folder / "refiner"}))
    ]
    counts = []
    for job in jobs:
        with job_folder(job.output):
            counts.append(len(PartDubber(pipeline).begin(job, 3).parts))
    assert counts == [3, 1]
    plain, refined = (read_frames(pipeline.run(job).output).astype(int) for job in jobs)
    region = mouth_mask(clip.landmarks, 2 * max(plain.shape[1:3]))[:, : plain.shape[1], : plain.shape[2]]
    changed = np.abs(refined - plain).max(axis=3) > 0
    assert (changed & region).any(axis=(1, 2)).all()
    near = np.stack([cv2.dilate(one.astype(np.uint8), np.ones((25, 25))) for one in region]) > 0
    assert not (changed & ~near).any(), "all else is the soft edge"
