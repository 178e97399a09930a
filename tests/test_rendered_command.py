"""The command that fills a folder with rendered clips."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from common.media import load_audio, probe, read_frames
from common.rendered.__main__ import main
from common.rendered.render import render_frame
from common.rendered.scene import sample_scene
from common.rendered.speech import sample_voice, speak


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    target = tmp_path_factory.mktemp("rendered")
    code = main(_arguments(target))
    assert code == 0
    return target


def _arguments(target, *more):
    return [
        *("--output", str(target), "--count", "1", "--seed", "1000002", "--seconds", "0.4", "--size", "96"),
        *("--pairs", "--occluder", "cup", "--workers", "1", *more),
    ]


def test_files_are_those_of_the_contract(folder):
    names = {path.name for path in folder.iterdir()}
    stem = "r1000002"
    wanted = {f"{stem}.json"} | {f"{stem}_{c}.{s}" for c in "ab" for s in ("mp4", "track.safetensors")}
    assert names == wanted
    info = probe(folder / f"{stem}_a.mp4")
    assert (info.width, info.height, info.frame_count, info.average_rate, info.has_audio) == (
        96,
        96,
        10,
        25,
        True,
    )
    track = load_file(folder / f"{stem}_a.track.safetensors")
    assert {name: value.shape for name, value in track.items()} == {
        "landmarks": (10, 68, 3),
        "boxes": (10, 4),
        "occluder": (10, 96, 96),
        "opening": (10,),
    }
    about = json.loads((folder / f"{stem}.json").read_text())
    assert about["occluder"] == "cup" and about["speaker"] == "rendered-1000002"
    assert about["clips"]["a"]["text"] != about["clips"]["b"]["text"]


def test_video_shows_the_scene_and_carries_the_speech(folder):
    frames = read_frames(folder / "r1000002_a.mp4")
    speech = speak(2000004, 0.4, sample_voice(1000002))
    truth = render_frame(sample_scene(1000002, occluder="cup", size=96), 7, speech.mouth[7]).image
    assert np.abs(frames[7].astype(int) - truth).mean() < 4
    heard = load_audio(folder / "r1000002_a.mp4")
    count = min(len(heard), len(speech.audio))
    assert np.corrcoef(heard[:count], speech.audio[:count])[0, 1] > 0.95


def test_a_pair_shares_all_but_what_is_said(folder):
    a, b = (load_file(folder / f"r1000002_{c}.track.safetensors") for c in "ab")
    np.testing.assert_array_equal(a["boxes"], b["boxes"])
    np.testing.assert_array_equal(a["occluder"], b["occluder"])
    assert np.abs(a["opening"] - b["opening"]).max() > 0.01


def test_what_is_there_is_not_made_again(folder, capsys):
    video = folder / "r1000002_a.mp4"
    before = video.stat().st_mtime_ns
    assert main(_arguments(folder)) == 0
    assert video.stat().st_mtime_ns == before
    assert "1 were there already" in capsys.readouterr().out
    (folder / "r1000002.json").unlink()  # as after an interruption
    assert main(_arguments(folder)) == 0
    assert video.stat().st_mtime_ns != before


def test_nonsense_is_refused_in_one_sentence(tmp_path, capsys):
    assert main(["--output", str(tmp_path), "--count", "0"]) == 2
    assert main(["--output", str(tmp_path), "--count", "1", "--seconds", "-1", "--workers", "1"]) == 2
    (tmp_path / "file").write_text("")
    assert main(["--output", str(tmp_path / "file"), "--count", "1"]) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 3 and all(line.startswith("error: ") for line in errors)
