"""Several speakers: whose face is dubbed when, and with what."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dub_clips import RATE, steady, write_clip
from test_face_choice import wider
from test_shots import Script, film, seen

from common.errors import UserError
from common.face.people import track_faces
from common.media import save_wav
from stage2_dubber.dub.faces import follow
from stage2_dubber.dub.faces.cues import cued_speech, read_cues
from stage2_dubber.dub.request import DubRequest, check_request

HEADER = "start,end,face,audio\n"


def table(folder: Path, *lines: str) -> Path:
    save_wav(folder / "a.wav", np.full(RATE, 0.25, np.float32), RATE)
    path = folder / "cues.csv"
    path.write_text(HEADER + "".join(line + "\n" for line in lines))
    return path


def test_each_says_their_own_and_nothing_between(tmp_path: Path):
    path = table(tmp_path, "0.5,0.7,2,", "0.1,0.4,1,a.wav")
    assert [cue.face.person for cue in read_cues(path)] == [1, 2]
    speech = cued_speech(path, np.full(RATE, 0.5, np.float32), 1.0)
    level = {at: float(speech[round(at * RATE)]) for at in (0.05, 0.2, 0.45, 0.6, 0.8)}
    assert level == pytest.approx({0.05: 0, 0.2: 0.25, 0.45: 0, 0.6: 0.5, 0.8: 0}, abs=1e-4)
    assert len(speech) == RATE


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ((), "no line after its first"),
        (("0,1,1,", "0.5,2,2,"), "two cues at 0.5 s"),
        (("1,1,1,",), "line 2, runs from 1 to 1"),
        (("x,1,1,",), "line 2, gives no number"),
        (("0,nan,1,",), "runs from 0 to nan"),
        (("0,1,auto,",), "line 2, names no face"),
        (("0,1,,",), "line 2, names no face"),
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
    assert face.track.segments() == [slice(0, 10), slice(10, 15), slice(20, 24)]
    left = [round(float(face.track.boxes[frame, 0])) for frame in (9, 10, 21)]
    whole = track_faces(film(24, []), Script([[wider(5, 60), seen(75, 40)]] * 24))
    assert left == [round(float(whole.stretches[i].boxes[0, 0])) for i in (0, 1, 0)]
    late = table(tmp_path, "3,4,1,")
    with pytest.raises(UserError, match=r"a cue at 3 s, but the video ends at 0\.96 s"):
        check_request(DubRequest(clip, tmp_path / "a.wav", tmp_path / "o.mkv", cues=late))
