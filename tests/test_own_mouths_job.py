"""Dubbing jobs that draw with the clip's own mouths, alone and with the editor, and their command line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from dub_clips import RATE, write_package
from own_mouth_clips import Talker, talker, write_talker
from safetensors.numpy import save_file
from typer.testing import CliRunner

from bootdub.cli.main import app
from common.errors import UserError
from common.face.mediapipe_backend import MediapipeDetector
from common.face.types import FaceObservation, landmarks_box
from common.lip_shapes.encoder import LipEncoder
from common.lip_shapes.model import LipShapePredictor
from common.media import load_audio, read_frames, save_wav
from common.models.package_info import read_info, write_info
from common.own_mouths.config import OwnMouthsConfig, Renderer
from common.own_mouths.plan import MouthPlan, MouthPlanner
from stage2_dubber.dub.job import Composite, FacePlan, source_frames
from stage2_dubber.dub.own_mouths import FADE_FRAMES
from stage2_dubber.dub.pipeline import DubPipeline
from stage2_dubber.dub.result import DubResult

Dub = Callable[..., DubResult]
FRAMES = 36
PLAIN = OwnMouthsConfig(occluders=False)
# Of the editor, whose pictures are noise here.
CHEAP = {"num_steps": 1, "passes": 1, "audio_scale": 1.0, "reference_scale": 1.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model package that hears spectra and edits, a tiny predictor of lips, a clip, its track, speech."""
    folder = tmp_path_factory.mktemp("own")
    write_package(folder / "toy")
    torch.manual_seed(0)
    LipShapePredictor(80, 16, 1, 0.0).save_pretrained(folder / "reader")
    clip = _clip()
    write_talker(folder / "a talker.mkv", clip)
    save_file({"landmarks": clip.landmarks}, folder / "track.safetensors")
    seconds = np.arange(round(FRAMES / 25 * RATE)) / RATE
    loud = np.maximum(np.sin(2 * np.pi * 2.5 * seconds), 0)
    voice = 0.3 * loud * np.sign(np.sin(2 * np.pi * (120 + 60 * seconds) * seconds))
    save_wav(folder / "speech.wav", voice.astype(np.float32), RATE)
    return folder


def _clip() -> Talker:
    return talker(count=FRAMES)


@pytest.fixture(scope="module")
def shared_pipeline(folder: Path) -> Iterator[DubPipeline]:
    with pytest.MonkeyPatch.context() as patch:
        _use_toy_predictor(patch, folder)
        yield DubPipeline.from_pretrained(folder / "toy")


@pytest.fixture
def pipeline(folder: Path, monkeypatch: pytest.MonkeyPatch) -> DubPipeline:
    _use_toy_predictor(monkeypatch, folder)
    return DubPipeline.from_pretrained(folder / "toy")


def _use_toy_predictor(patch: pytest.MonkeyPatch, folder: Path) -> None:
    patch.setattr("stage2_dubber.dub.models.shipped_lip_encoder", lambda: LipEncoder(folder / "reader"))


@pytest.fixture
def dub(folder: Path, tmp_path: Path, pipeline: DubPipeline) -> Dub:
    return _dubbing(folder, tmp_path, pipeline)


def _dubbing(folder: Path, place: Path, pipeline: DubPipeline) -> Dub:
    def run(renderer: str | None = "own-mouths", name: str = "o.mkv", **changes: object) -> DubResult:
        job = {
            "video": folder / "a talker.mkv",
            "audio": folder / "speech.wav",
            "output": place / name,
            "track": folder / "track.safetensors",
            "lossless": True,
            "renderer": renderer,
            "own_mouths": PLAIN,
            **CHEAP,
            **changes,
        }
        return pipeline(**job)

    return run


@pytest.fixture(scope="module")
def own(folder: Path, shared_pipeline: DubPipeline) -> DubResult:
    """The clip dubbed with its own mouths, nothing asked for besides; the editor is never asked."""
    with pytest.MonkeyPatch.context() as patch:
        _no_editor(patch)
        return _dubbing(folder, folder, shared_pipeline)(name="own.mkv")


@pytest.fixture(scope="module")
def edited(folder: Path, shared_pipeline: DubPipeline) -> DubResult:
    """The clip dubbed by the editor alone."""
    return _dubbing(folder, folder, shared_pipeline)("editor", "edited.mkv")


def test_subtitles_over_the_face_are_kept_and_told(
    folder: Path, tmp_path: Path, dub: Dub, own: DubResult
) -> None:
    clip = _clip()
    x, y = np.median(clip.landmarks[:, 8, :2], axis=0).astype(int)
    frames = clip.frames.copy()
    for image in frames:
        for colour, width in (((0, 0, 0), 4), ((255, 255, 255), 1)):
            cv2.putText(
                image, "words", (int(x) - 24, int(y) - 2), cv2.FONT_HERSHEY_DUPLEX, 0.55, colour, width
            )
    video = write_talker(tmp_path / "subtitled.mkv", Talker(frames, clip.landmarks))
    result = dub(video=video)
    assert any("lies over the face" in sentence for sentence in result.warnings)
    assert not any("lies over the face" in sentence for sentence in own.warnings)
    letters = (frames == 255).all(axis=-1) & (clip.frames != 255).any(axis=-1)
    made = np.stack(read_frames(result.output))
    assert (made[letters] == frames[letters]).mean() > 0.99


def _reaching(monkeypatch: pytest.MonkeyPatch, reached: np.ndarray) -> None:
    """Let plans say that the clip's own mouths reach these frames and no others."""
    plan = MouthPlanner.plan

    def changed(self: MouthPlanner, *args: object, **options: object) -> MouthPlan:
        made = plan(self, *args, **options)
        names = {field.name for field in fields(MouthPlan)} & {"covered", "reached"}
        return replace(made, **{name: reached[: len(made)].copy() for name in names})

    monkeypatch.setattr(MouthPlanner, "plan", changed)


def _no_editor(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("the editor was asked")

    monkeypatch.setattr("stage2_dubber.dub.editing.editor.WindowEditor.__init__", fail)


def _stamps(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return sorted(float(p.pts * stream.time_base) for p in container.demux(stream) if p.pts is not None)


def _changed(path: Path) -> np.ndarray:
    """(N,) whether each frame differs from the source's."""
    return (read_frames(path) != _clip().frames).any(axis=(1, 2, 3))


class TestOwnMouthsAlone:
    def test_a_clip_is_dubbed_without_the_editor(self, own: DubResult, folder: Path) -> None:
        result = own
        assert result.frames == result.dubbed_frames == result.own_mouth_frames == FRAMES
        assert result.covered is not None and 0 <= result.covered <= 1 and result.seams == ()
        assert set(result.seconds) == {"checks", "face", "speech", "dubbing"}
        made, clip = read_frames(result.output), _clip()
        assert made.shape == clip.frames.shape
        assert _stamps(result.output) == _stamps(folder / "a talker.mkv")
        assert _changed(result.output).mean() > 0.8
        eyes = clip.landmarks[:, 36:48, :2].round().astype(int)
        for i in range(FRAMES):
            np.testing.assert_array_equal(
                made[i][: eyes[i, :, 1].max()], clip.frames[i][: eyes[i, :, 1].max()]
            )

    def test_the_sound_is_the_users_own(self, own: DubResult, folder: Path) -> None:
        heard, given = load_audio(own.output, RATE), load_audio(folder / "speech.wav", RATE)
        np.testing.assert_allclose(heard[: len(given)], given[: len(heard)], atol=2e-4)
        assert abs(len(heard) - len(given)) < 0.05 * RATE

    def test_the_same_job_makes_the_same_frames_and_other_speech_others(
        self, dub: Dub, own: DubResult, tmp_path: Path
    ) -> None:
        first, again = (read_frames(result.output) for result in (own, dub()))
        np.testing.assert_array_equal(first, again)
        buzz = 0.4 * np.sign(np.sin(2 * np.pi * 200 * np.arange(2 * RATE) / RATE))
        save_wav(tmp_path / "buzz.wav", buzz.astype(np.float32), RATE)
        assert (read_frames(dub(name="c.mkv", audio=tmp_path / "buzz.wav").output) != first).any()

    def test_frames_without_a_face_are_the_sources(self, dub, tmp_path: Path) -> None:
        points = _clip().landmarks.copy()
        points[:14] = np.nan
        save_file({"landmarks": points}, tmp_path / "late.safetensors")
        result = dub(track=tmp_path / "late.safetensors", report=tmp_path / "r.json")
        changed = _changed(result.output)
        report = json.loads((tmp_path / "r.json").read_text())
        assert [(u["first"], u["last"], u["reason"]) for u in report["untouched"]] == [
            (0, 13, "there is no face to dub")
        ]
        assert [(d["first"], d["last"], d["renderer"]) for d in report["drawn"]] == [
            (14, FRAMES - 1, "own-mouths")
        ]
        assert report["frames"] == FRAMES and report["dubbed_frames"] == FRAMES - 14
        assert result.report is not None and list(result.report.warnings) == report["warnings"]
        assert not changed[:14].any() and changed[14:].mean() > 0.8
        assert result.frames == FRAMES and result.dubbed_frames == result.own_mouth_frames == FRAMES - 14

    def test_json_tracks_work_too(self, dub: Dub, own: DubResult, tmp_path: Path) -> None:
        track = tmp_path / "track.json"
        track.write_text(json.dumps({"landmarks": _clip().landmarks.astype(float).tolist()}))
        np.testing.assert_array_equal(
            read_frames(dub(track=track, name="j.mkv").output), read_frames(own.output)
        )

    def test_progress_and_pictures_to_look_at(self, dub, tmp_path: Path) -> None:
        told: list[tuple] = []
        sheet = tmp_path / "sheet.png"
        dub(contact_sheet=sheet, progress=lambda *args: told.append(args))
        dubbing = [(done, total) for stage, done, total in told if stage == "dubbing"]
        assert dubbing[0] == (0, FRAMES) and dubbing[-1] == (FRAMES, FRAMES)
        assert [done for done, _ in dubbing] == sorted(done for done, _ in dubbing)
        assert sheet.read_bytes().startswith(b"\x89PNG")

    def test_what_is_not_covered_is_drawn_all_the_same(self, dub, monkeypatch) -> None:
        _no_editor(monkeypatch)
        _reaching(monkeypatch, np.zeros(FRAMES, bool))
        result = dub()
        assert result.covered == 0 and result.own_mouth_frames == FRAMES

    def test_options_reach_the_drawing(self, dub: Dub, own: DubResult) -> None:
        bent = read_frames(own.output)
        filmed = read_frames(dub(name="b.mkv", own_mouths=replace(PLAIN, warp=False)).output)
        assert (bent != filmed).any()


def test_a_mesh_is_fitted_into_boxes(dub, tmp_path: Path, monkeypatch) -> None:
    points = iter(_clip().landmarks)

    def seen(_: object, image: np.ndarray, box: np.ndarray) -> FaceObservation:
        found = next(points)
        return FaceObservation(landmarks_box(found), found, 1.0)

    monkeypatch.setattr(MediapipeDetector, "look_at", seen)
    result = dub(track=TestWithoutMeasuredLandmarks._boxes(tmp_path))
    assert result.own_mouth_frames == FRAMES


def test_guessed_frames_stay_the_sources(dub, folder: Path, tmp_path: Path, monkeypatch) -> None:
    known = _clip().landmarks
    count = iter(range(FRAMES))

    def seen_at_first(_: object, image: np.ndarray, box: np.ndarray) -> FaceObservation | None:
        frame = next(count)
        found = known[frame]
        return FaceObservation(landmarks_box(found), found, 1.0) if frame < FRAMES // 2 else None

    monkeypatch.setattr(MediapipeDetector, "look_at", seen_at_first)
    result = dub(track=TestWithoutMeasuredLandmarks._boxes(tmp_path))
    assert result.own_mouth_frames == FRAMES // 2
    source, dubbed = read_frames(folder / "a talker.mkv"), read_frames(result.output)
    np.testing.assert_array_equal(dubbed[FRAMES // 2 :], source[FRAMES // 2 :])


class TestWithoutMeasuredLandmarks:
    @staticmethod
    def _boxes(folder: Path) -> Path:
        """A track that knows no lips."""
        boxes = np.stack([landmarks_box(points) for points in _clip().landmarks]).astype(np.float32)
        save_file({"boxes": boxes}, folder / "boxes.safetensors")
        return folder / "boxes.safetensors"

    @pytest.fixture(autouse=True)
    def no_mesh(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The mesh that is fitted into boxes sees no face."""
        monkeypatch.setattr(MediapipeDetector, "look_at", lambda *_: None)

    def test_own_mouths_alone_are_refused_with_the_way_out(self, dub, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"a talker\.mkv.*no mouth.*--renderer editor.*--track"):
            dub(track=self._boxes(tmp_path))
        assert not (tmp_path / "o.mkv").exists()

    def test_auto_leaves_all_to_the_editor(self, dub, tmp_path: Path) -> None:
        track = self._boxes(tmp_path)
        auto, editor = (dub(renderer, f"{renderer}.mkv", track=track) for renderer in ("auto", "editor"))
        np.testing.assert_array_equal(read_frames(auto.output), read_frames(editor.output))
        assert auto.own_mouth_frames == 0 and auto.covered is None and auto.dubbed_frames == FRAMES

    def test_auto_needs_no_predictor_then(self, dub, tmp_path: Path, monkeypatch) -> None:
        def missing() -> None:
            raise UserError("there is no predictor")

        monkeypatch.setattr("stage2_dubber.dub.models.shipped_lip_encoder", missing)
        assert dub("auto", track=self._boxes(tmp_path)).dubbed_frames == FRAMES


class TestBoth:
    def test_auto_draws_with_own_mouths_alone_where_they_suffice(
        self, dub: Dub, own: DubResult, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _no_editor(monkeypatch)
        _reaching(monkeypatch, np.ones(FRAMES, bool))
        auto = dub("auto")
        np.testing.assert_array_equal(read_frames(auto.output), read_frames(own.output))
        assert auto.covered == 1.0 and auto.own_mouth_frames == FRAMES

    def test_the_editor_draws_where_they_do_not(
        self, dub: Dub, own: DubResult, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        alone = read_frames(own.output)
        away = range(14, 26)
        _reaching(monkeypatch, ~np.isin(np.arange(FRAMES), away))
        result = dub("auto")
        made = read_frames(result.output)
        assert result.covered == pytest.approx(1 - len(away) / FRAMES)
        assert result.own_mouth_frames == FRAMES - len(away) and result.dubbed_frames == FRAMES
        far = [i for i in range(FRAMES) if i < away.start - FADE_FRAMES or i >= away.stop + FADE_FRAMES]
        np.testing.assert_array_equal(made[far], alone[far])
        near = [i for i in range(FRAMES) if i not in far]
        assert (made[near] != alone[near]).any(axis=(1, 2, 3)).all()

    def test_shares_of_own_mouths_fall_and_rise_linearly(
        self, dub: Dub, own: DubResult, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With an editor that paints all white, every pixel says its share."""

        def white(video: Path, plan: FacePlan, *_: object) -> Iterator[Composite]:
            mine = {i for segment in plan.segments for i in segment.source}
            for item in source_frames(video):
                paint = item.frame.index in mine
                yield Composite(item.frame, np.full_like(item.image, 255) if paint else item.image)

        alone = read_frames(own.output).astype(float)
        away = range(15, 26)
        _reaching(monkeypatch, ~np.isin(np.arange(FRAMES), away))
        monkeypatch.setattr("stage2_dubber.dub.drawing.composited_frames", white)
        made = read_frames(dub("auto").output).astype(float)
        share = [float((255 - made[i]).sum() / (255 - alone[i]).sum()) for i in range(FRAMES)]
        wanted = [
            min(max(away.start - i, i - away.stop + 1, 0) / (FADE_FRAMES + 1), 1) for i in range(FRAMES)
        ]
        np.testing.assert_allclose(share, wanted, atol=0.01)

    def test_short_gaps_are_not_worth_two_passages(self, dub, monkeypatch) -> None:
        _no_editor(monkeypatch)
        _reaching(monkeypatch, ~np.isin(np.arange(FRAMES), [10, 11, 12, 30]))
        assert dub("auto").own_mouth_frames == FRAMES

    def test_gaps_close_to_each_other_are_one_stretch(self, dub, monkeypatch) -> None:
        away = [*range(8, 17), *range(20, 29)]
        _reaching(monkeypatch, ~np.isin(np.arange(FRAMES), away))
        # From the first to the last of them nothing is drawn with own mouths.
        assert dub("auto").own_mouth_frames == FRAMES - (29 - 8)

    def test_at_the_ends_of_a_clip_there_is_no_passage(self, dub, monkeypatch) -> None:
        _reaching(monkeypatch, np.arange(FRAMES) >= 12)
        assert dub("auto").own_mouth_frames == FRAMES - 12

    def test_nothing_is_covered(self, dub: Dub, edited: DubResult, monkeypatch: pytest.MonkeyPatch) -> None:
        _reaching(monkeypatch, np.zeros(FRAMES, bool))
        auto = dub("auto")
        assert auto.own_mouth_frames == 0 and auto.covered == 0
        np.testing.assert_array_equal(read_frames(auto.output), read_frames(edited.output))

    def test_no_window_of_the_editor_goes_across_a_cut(self, dub, tmp_path: Path, monkeypatch) -> None:
        clip = _clip()
        frames = clip.frames.copy()
        frames[FRAMES // 2 :] = 255 - frames[FRAMES // 2 :]
        write_talker(tmp_path / "cut.mkv", replace(clip, frames=frames))
        _reaching(monkeypatch, np.zeros(FRAMES, bool))
        options = {"video": tmp_path / "cut.mkv"}
        auto, editor = dub("auto", "a.mkv", **options), dub("editor", "b.mkv", **options)
        np.testing.assert_array_equal(read_frames(auto.output), read_frames(editor.output))
        assert auto.report is not None and auto.report.shots == (0, FRAMES // 2)


class TestPackages:
    def test_old_packages_mean_the_editor(self, folder: Path, tmp_path: Path) -> None:
        content = json.loads((folder / "toy" / "bootdub.json").read_text())
        del content["renderer"]
        (tmp_path / "bootdub.json").write_text(json.dumps(content))
        assert read_info(tmp_path).renderer is Renderer.editor

    @pytest.mark.parametrize("renderer", list(Renderer))
    def test_a_package_says_its_renderer(self, folder: Path, tmp_path: Path, renderer: Renderer) -> None:
        write_info(tmp_path, replace(read_info(folder / "toy"), renderer=renderer))
        assert read_info(tmp_path).renderer is renderer
        assert json.loads((tmp_path / "bootdub.json").read_text())["renderer"] == renderer.value

    def test_a_package_with_an_unknown_renderer_is_damaged(self, folder: Path, tmp_path: Path) -> None:
        content = json.loads((folder / "toy" / "bootdub.json").read_text())
        content["renderer"] = "puppet"
        (tmp_path / "bootdub.json").write_text(json.dumps(content))
        with pytest.raises(UserError, match=r"bootdub\.json.*puppet"):
            read_info(tmp_path)

    def test_the_packages_renderer_is_taken_and_its_weights_only_when_needed(
        self, own: DubResult, pipeline: DubPipeline, folder: Path, tmp_path: Path
    ) -> None:
        """A package for own mouths whose transformer is not even there."""
        package = tmp_path / "own"
        write_info(_made(package), replace(read_info(folder / "toy"), renderer=Renderer.own_mouths))
        bare = DubPipeline.from_pretrained(package)
        job = {
            "video": folder / "a talker.mkv",
            "audio": folder / "speech.wav",
            "track": folder / "track.safetensors",
            "lossless": True,
            "own_mouths": PLAIN,
        }
        result = bare(output=tmp_path / "own.mkv", **job)
        assert result.own_mouth_frames == FRAMES
        np.testing.assert_array_equal(read_frames(result.output), read_frames(own.output))
        with pytest.raises(UserError):
            bare(output=tmp_path / "edited.mkv", renderer="editor", **job)
        assert not (tmp_path / "edited.mkv").exists()

    def test_without_a_word_an_editors_package_edits(self, dub: Dub, edited: DubResult) -> None:
        plain = dub(None)
        np.testing.assert_array_equal(read_frames(plain.output), read_frames(edited.output))
        assert plain.own_mouth_frames == 0 and plain.covered is None


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


class TestCommandLine:
    @staticmethod
    def _run(folder: Path, output: Path, *more: str) -> tuple[int, str, str]:
        options = ["--video", str(folder / "a talker.mkv"), "--audio", str(folder / "speech.wav")]
        options += ["--output", str(output), "--track", str(folder / "track.safetensors")]
        options += ["--model", str(folder / "toy"), *more]
        result = CliRunner().invoke(app, ["dub", *options])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout, result.stderr

    def test_an_unknown_renderer_is_refused(self, folder: Path, tmp_path: Path) -> None:
        code, _, err = self._run(folder, tmp_path / "o.mp4", "--renderer", "nonsense")
        assert code == 2 and "nonsense" in err and not (tmp_path / "o.mp4").exists()
        assert all(renderer.value in err for renderer in Renderer)

    @pytest.mark.parametrize("renderer", [None, *Renderer])
    def test_a_dry_run_tells_the_renderer(
        self, folder: Path, tmp_path: Path, renderer: Renderer | None
    ) -> None:
        more = [] if renderer is None else ["--renderer", renderer.value]
        code, out, _ = self._run(folder, tmp_path / "o.mp4", "--dry-run", *more)
        told = [line for line in out.splitlines() if line.startswith("renderer")]
        assert code == 0 and len(told) == 1
        assert told[0].split()[1] == (renderer or Renderer.editor).value
        assert not (tmp_path / "o.mp4").exists()

    def test_a_clip_is_dubbed_and_told_how_much_of_it_is_covered(
        self, folder: Path, tmp_path: Path, monkeypatch
    ) -> None:
        place = "stage2_dubber.dub.models.shipped_lip_encoder"
        monkeypatch.setattr(place, lambda: LipEncoder(folder / "reader"))
        code, out, err = self._run(folder, tmp_path / "o.mp4", "--renderer", "own-mouths")
        assert code == 0, err
        assert f"{FRAMES} of {FRAMES} frames dubbed" in out
        assert f"{FRAMES} of them with the clip's own mouths" in out and "%" in out
        assert len(read_frames(tmp_path / "o.mp4")) == FRAMES
