"""Manifests: what is read, what is refused, and which probes are made of the rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import UserError
from evaluation.manifest import PROBES, Case, read_manifest, with_probes
from evaluation.metrics.base import Kind


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.mp4", "b.mp4", "speech.wav"):
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def manifest(folder: Path, text: str) -> Path:
    path = folder / "m.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_rows_are_read_with_paths_relative_to_the_manifest(folder: Path) -> None:
    text = "video,audio,group,truth\na.mp4,b.mp4,front,b.mp4\nb.mp4,silence,,\na.mp4,self,front,\n"
    cross, silence, own = read_manifest(manifest(folder, text))
    assert (cross.name, cross.kind, cross.group) == ("a-b", Kind.cross, "front")
    assert cross.truth == folder / "b.mp4" and cross.audio == folder / "b.mp4"
    assert (silence.name, silence.kind, silence.audio) == ("b-silence", Kind.silence, None)
    assert silence.group == "all clips"
    assert own.kind is Kind.self and own.audio == folder / "a.mp4"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("video\na.mp4\n", "no column 'audio'"),
        ("video,audio,colour\na.mp4,b.mp4,red\n", "unknown column 'colour'"),
        ("video,audio\n", "has no rows"),
        ("video,audio\na.mp4,\n", "line 2, has an empty 'audio'"),
        ("video,audio\na.mp4,nope.wav\n", "audio (line 2 of"),
        ("video,audio\na.mp4,b.mp4\na.mp4,b.mp4\n", "two rows named 'a-b'"),
        ("video,audio,name\na.mp4,b.mp4,../up\n", "use a name that a file may have"),
        ("video,audio\na.mp4,b.mp4,more\n", "line 2, has not as many cells"),
        ("video,audio\na.mp4\n", "line 2, has not as many cells"),
        ("video,audio,sound_delay\na.mp4,b.mp4,late\n", "line 2, has the sound_delay 'late'"),
        ("video,audio,sound_delay\na.mp4,b.mp4,nan\n", "line 2, has the sound_delay 'nan'"),
        ("video,audio,sound_delay\na.mp4,b.mp4,-1.5\n", "give the seconds by which the sound comes after"),
        ("video,audio,language\na.mp4,b.mp4,xx\n", "line 2: There is no language 'xx'"),
    ],
)
def test_bad_manifests_are_refused_by_a_sentence(folder: Path, text: str, words: str) -> None:
    with pytest.raises(UserError) as refused:
        read_manifest(manifest(folder, text))
    assert words in str(refused.value)


def test_the_delay_of_a_recording_is_not_that_of_its_rows_probes(folder: Path) -> None:
    late, plain = read_manifest(
        manifest(folder, "video,audio,sound_delay\na.mp4,b.mp4,-0.08\nb.mp4,a.mp4,\n")
    )
    assert (late.sound_delay, plain.sound_delay) == (-0.08, 0)
    assert {case.sound_delay for case in with_probes([late], PROBES)[1:]} == {0}


def test_probes_follow_their_rows_once_per_video(folder: Path) -> None:
    a, b, speech = (folder / name for name in ("a.mp4", "b.mp4", "speech.wav"))
    cases = [Case("1", a, b, Kind.cross), Case("2", a, speech, Kind.cross), Case("3", b, None, Kind.silence)]
    rows = with_probes(cases, [Kind.self, Kind.silence, Kind.cycle], silent=[b])
    assert [row.name for row in rows] == ["1", "1+self", "1+silence", "1+cycle", "2", "2+cycle", "3"]
    back = rows[3]
    assert back.kind is Kind.cycle and back.audio == a and back.truth == a and back.base == "1"
    assert rows[2].audio is None
