"""Several speakers: whose face is dubbed when, and with what."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from dub_clips import RATE, steady, write_clip, write_package
from own_mouth_clips import Talker, talker, write_talker
from test_face_choice import wider
from test_shots import Script, film, seen

from common.errors import UserError
from common.face.people import track_faces
from common.face.types import FaceObservation, landmarks_box
from common.lip_shapes.encoder import LipEncoder
from common.lip_shapes.model import LipShapePredictor
from common.media import VideoInfo, load_audio, read_frames, save_wav
from common.own_mouths.config import OwnMouthsConfig
from stage2_dubber.dub import outputs
from stage2_dubber.dub.dubbed import DubbedFace, DubbedFaces
from stage2_dubber.dub.faces import follow
from stage2_dubber.dub.faces.cues import cued_speech, read_cues, spoken_cues
from stage2_dubber.dub.inputs import check_request
from stage2_dubber.dub.job import Composite, plan_followed
from stage2_dubber.dub.own_mouths import Division
from stage2_dubber.dub.pipeline import DubPipeline
from stage2_dubber.dub.request import DubRequest
from stage2_dubber.dub.result import DubResult
from stage2_dubber.dub.untouched import Reason

HEADER = "start,end,face,audio\n"


def table(folder: Path, *lines: str) -> Path:
    save_wav(folder / "a.wav", np.full(RATE, 0.25, np.float32), RATE)
    path = folder / "cues.csv"
    path.write_text(HEADER + "".join(line + "\n" for line in lines))
    return path


def test_each_says_their_own_and_nothing_between(tmp_path: Path):
    path = table(tmp_path, "0.5,0.7,2,", "0.1,0.4,1,a.wav")
    assert [cue.face.person for cue in read_cues(path)] == [1, 2]
    speech = cued_speech(spoken_cues(path, np.full(RATE, 16384, np.int16), 1.0), 1.0)
    level = {at: float(speech[round(at * RATE)]) / 32768 for at in (0.05, 0.2, 0.45, 0.6, 0.8)}
    assert level == pytest.approx({0.05: 0, 0.2: 0.25, 0.45: 0, 0.6: 0.5, 0.8: 0}, abs=1e-4)
    assert len(speech) == RATE


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ((), "no line after its first"),
        (
            ("1,1,1,", "0,1,1,", "x,2,1,", "1,2,,"),
            "line 2: it runs .*; line 4: it gives .*; line 5: it names",
        ),
        (("0,1,1,", "0.2,0.8,2,", "0.5,2,1,"), "two cues for one face at 0.5 s"),
        (("1,1,1,",), "line 2: it runs from 1 to 1"),
        (("x,1,1,",), "line 2: it gives no number"),
        (("0,nan,1,",), "runs from 0 to nan"),
        (("0,1,auto,",), "line 2: it names no face"),
        (("0,1,,",), "line 2: it names no face"),
        (("0,1,1,b.wav",), "b.wav"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, lines: tuple[str, ...], message: str):
    with pytest.raises(UserError, match=message):
        read_cues(table(tmp_path, *lines))


def test_a_table_without_a_column_or_of_another_kind_is_refused(tmp_path: Path):
    path = table(tmp_path)
    path.write_text("start,end,audio\n0,1,a.wav\n")
    with pytest.raises(UserError, match="no column 'face'"):
        read_cues(path)
    path.write_bytes(b"\xff\xfe\x00start")
    with pytest.raises(UserError, match="no table in UTF-8"):
        read_cues(path)


def test_each_face_is_dubbed_within_its_cues_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    clip = write_clip(tmp_path / "clip.mkv", steady(24, 25), lossless=True)
    script = Script([[wider(5, 60), seen(75, 40)]] * 24)
    monkeypatch.setattr(follow, "build_detector", lambda *_, **__: script)
    cues = table(tmp_path, "0,0.4,1,", "0.4,0.6,2,", '0.8,0.96,"20,40",')
    request = DubRequest(clip, tmp_path / "a.wav", tmp_path / "o.mkv", cues=cues)
    face = follow.follow_face(request, lambda *_: None)
    (other,) = face.beside
    assert face.track.segments() == [slice(0, 10), slice(20, 24)]
    assert other.track.segments() == [slice(10, 15)]
    whole = track_faces(film(24, []), Script([[wider(5, 60), seen(75, 40)]] * 24))
    for one, stretch, frame in ((face, 0, 9), (face, 0, 21), (other, 1, 10)):
        np.testing.assert_array_equal(one.track.boxes[frame], whole.stretches[stretch].boxes[0])
    late = table(tmp_path, "3,4,1,")
    with pytest.raises(UserError, match=r"it begins at 3 s, but the video ends at 0\.96 s"):
        check_request(DubRequest(clip, tmp_path / "a.wav", tmp_path / "o.mkv", cues=late))


def test_a_cue_is_dubbed_however_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    clip = write_clip(tmp_path / "clip.mkv", steady(24, 25), lossless=True)
    script = Script([[wider(5, 60), seen(75, 40)]] * 24)
    monkeypatch.setattr(follow, "build_detector", lambda *_, **__: script)
    cues = table(tmp_path, "0,0.2,1,", "0.4,0.44,1,", '0.48,0.6,"85,40",')
    request = DubRequest(clip, tmp_path / "a.wav", tmp_path / "o.mkv", cues=cues)
    face = follow.follow_face(request, lambda *_: None, inputs=check_request(request))
    (other,) = face.beside
    plans = [plan_followed(clip, one, 1.45, 25.0) for one in (face, other)]
    runs = [[segment.source for segment in plan.segments] for plan in plans]
    assert runs == [[range(5), range(10, 11)], [range(12, 15)]]
    assert {item.reason for plan in plans for item in plan.untouched} == {Reason.outside}
    pairs = zip((face, other), plans, strict=True)
    both = DubbedFaces(tuple(DubbedFace(*pair, Division(None, pair[1], {}), None) for pair in pairs))
    assert [(u.first, u.last, u.reason) for u in both.untouched] == [
        (5, 9, Reason.outside),
        (11, 11, Reason.outside),
        (15, 23, Reason.outside),
    ]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (("0.41,0.43,1,",), "line 2: the cue from 0.41 to 0.43 s is so short that no frame begins in it"),
        (
            ('0.4,0.6,"20,400",',),
            "line 2: The place 20,400 of a face lies outside the picture of 160x120",
        ),
        (("4,5,1,", "3,4,1,"), "line 3: it begins at 3 s, but the video ends at 0.96 s"),
        (("4,5,1,", "3,4,1,"), "line 2: it begins at 4 s, but the video ends at 0.96 s"),
    ],
)
def test_cues_that_do_not_go_with_the_video_are_named_before_the_work(
    tmp_path: Path, lines: tuple[str, ...], words: str
):
    clip = write_clip(tmp_path / "clip.mkv", steady(24, 25), lossless=True)
    cues = table(tmp_path, *lines)
    with pytest.raises(UserError) as error:
        check_request(DubRequest(clip, tmp_path / "a.wav", tmp_path / "o.mkv", cues=cues))
    assert words in str(error.value)


def test_columns_may_be_separated_by_semicolons(tmp_path: Path):
    path = table(tmp_path)
    path.write_text("start;end;face;audio\n0.1;0.4;20,40;a.wav\n")
    (cue,) = read_cues(path)
    assert cue.face.point == (20, 40) and cue.audio == tmp_path / "a.wav"


def test_two_names_of_one_face_do_not_speak_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    clip = write_clip(tmp_path / "clip.mkv", steady(24, 25), lossless=True)
    script = Script([[wider(5, 60), seen(75, 40)]] * 24)
    monkeypatch.setattr(follow, "build_detector", lambda *_, **__: script)
    cues = table(tmp_path, "0,0.4,1,", '0.3,0.6,"20,40",')
    request = DubRequest(clip, tmp_path / "a.wav", tmp_path / "o.mkv", cues=cues)
    with pytest.raises(UserError, match="two cues for one face at"):
        follow.follow_face(request, lambda *_: None)


class TestAtOnce:
    """Two people in one picture who speak at the same time."""

    FIRST, SECOND = range(2, 20), range(8, 24)
    """Frames of their cues: both in 8 to 19."""

    @pytest.fixture(scope="class")
    def folder(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tmp_path_factory.mktemp("at once")
        write_package(folder / "toy")
        torch.manual_seed(0)
        LipShapePredictor(80, 16, 1, 0.0).save_pretrained(folder / "reader")
        left, right = self.people()
        both = Talker(np.concatenate([left.frames, right.frames], axis=2), left.landmarks)
        write_talker(folder / "clip.mkv", both)
        for name, pitch in (("a", 140), ("b", 210)):
            seconds = np.arange(RATE) / RATE
            voice = 0.2 * np.sign(np.sin(2 * np.pi * pitch * seconds)) * np.sin(2 * np.pi * 3 * seconds) ** 2
            save_wav(folder / f"{name}.wav", voice.astype(np.float32), RATE)
        return folder

    @staticmethod
    def people() -> tuple[Talker, Talker]:
        return talker(count=24), talker(count=24, seed=5)

    @pytest.fixture
    def dub(self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        rows = [[], []]
        for side, clip in enumerate(self.people()):
            for points in clip.landmarks:
                moved = points + np.array([128 * side, 0, 0], np.float32)
                rows[side].append(FaceObservation(landmarks_box(moved), moved, 1.0))
        script = [list(faces) for faces in zip(*rows, strict=True)]
        monkeypatch.setattr(follow, "build_detector", lambda *_, **__: Script(script))
        monkeypatch.setattr(
            "stage2_dubber.dub.models.shipped_lip_encoder", lambda: LipEncoder(folder / "reader")
        )

        def run(name: str, *faces: int, audio: str | None = "a.wav", **options: object) -> DubResult:
            lines = {1: (self.FIRST, "a.wav"), 2: (self.SECOND, "b.wav")}
            rows = [f"{r.start / 25},{r.stop / 25},{f},{w}" for f, (r, w) in lines.items() if f in faces]
            (folder / "cues.csv").write_text(HEADER + "\n".join(rows) + "\n")
            settings = {
                "lossless": True,
                "own_mouths": OwnMouthsConfig(occluders=False),
                "num_steps": 1,
                "passes": 1,
                "audio_scale": 1.0,
                "reference_scale": 1.0,
                "compositing": "whole-crop",
            }
            return DubPipeline.from_pretrained(folder / "toy")(
                folder / "clip.mkv",
                None if audio is None else folder / audio,
                tmp_path / name,
                cues=folder / "cues.csv",
                **{**settings, **options},
            )

        return run

    @pytest.mark.parametrize("renderer", ["editor", "own-mouths"])
    def test_both_are_dubbed_in_one_run_each_with_their_own_speech(
        self, dub, folder: Path, renderer: str, tmp_path: Path
    ) -> None:
        """Each as if it were dubbed alone."""
        left, right = (read_frames(dub(f"{n}.mkv", n, renderer=renderer).output) for n in (1, 2))
        sheet = tmp_path / "sheet.png"
        result = dub("both.mkv", 1, 2, renderer=renderer, contact_sheet=sheet)
        made, source = read_frames(result.output), read_frames(folder / "clip.mkv")
        changed = (made != source).any(axis=-1)
        for frame in range(24):
            assert changed[frame, :, :128].any() == (frame in self.FIRST)
            assert changed[frame, :, 128:].any() == (frame in self.SECOND)
        if renderer == "editor":
            np.testing.assert_array_equal(made[..., :128, :], left[..., :128, :])
            np.testing.assert_array_equal(made[..., 128:, :], right[..., 128:, :])
        report = result.report
        assert report is not None and report.faces == (1, 2) and sheet.is_file()
        assert result.dubbed_frames == 22 and [len(u) for u in report.untouched] == [2]
        assert [(d.first, d.last, d.faces) for d in report.drawn] == [(2, 19, (1,)), (8, 23, (2,))]

    def test_a_job_that_was_cut_goes_on(self, dub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(outputs, "PIECE_FRAMES", 6)
        whole = dub("whole.mkv", 1, 2, renderer="editor").output.read_bytes()
        as_coded = outputs._as_coded

        def dies(item: Composite, info: VideoInfo) -> object:
            if item.frame.index == 14:
                raise KeyboardInterrupt
            return as_coded(item, info)

        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(outputs, "_as_coded", dies)
            dub("cut.mkv", 1, 2, renderer="editor")
        assert dub("cut.mkv", 1, 2, renderer="editor").output.read_bytes() == whole

    def test_without_audio_the_sounds_of_the_cues_are_heard_together(self, dub, folder: Path) -> None:
        made = load_audio(dub("mixed.mkv", 1, 2, renderer="editor", audio=None).output)
        expected = np.zeros(RATE, np.float32)
        for frames, name in ((self.FIRST, "a"), (self.SECOND, "b")):
            first, last = (round(frame / 25 * RATE) for frame in (frames.start, frames.stop))
            expected[first:last] += load_audio(folder / f"{name}.wav")[: last - first]
        away = np.ones(len(made), bool)
        for edge in (self.FIRST.start, self.FIRST.stop, self.SECOND.start, self.SECOND.stop):
            away[round(edge / 25 * RATE) - 170 : round(edge / 25 * RATE) + 170] = False
        np.testing.assert_allclose(made[away], expected[: len(made)][away], atol=1e-3)
        assert len(made) == round(self.SECOND.stop / 25 * RATE)

    def test_a_file_is_the_sound_as_given(self, dub, folder: Path) -> None:
        heard = load_audio(dub("given.mkv", 1, 2, renderer="editor", audio="b.wav").output)
        np.testing.assert_array_equal(heard, load_audio(folder / "b.wav"))

    def test_a_cue_without_a_file_needs_audio(self, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "cues.csv").write_text(HEADER + "0,0.4,1,\n")
        request = DubRequest.of(folder / "clip.mkv", None, tmp_path / "o.mkv", cues=tmp_path / "cues.csv")
        with pytest.raises(UserError, match="line 2: it names no audio"):
            check_request(request)
        with pytest.raises(UserError, match="There is no speech"):
            DubRequest.of(folder / "clip.mkv", None, tmp_path / "o.mkv")
