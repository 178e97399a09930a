"""Command lines of other programs: their words give the dub that they ask for, or one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from dub_clips import BOX, steady, write_clip, write_package, write_speech

from bootdub.compat import latentsync, wav2lip
from common.media import probe

LEFT, TOP, RIGHT, BOTTOM = (str(round(value)) for value in BOX)
LATENTSYNC = ["--unet_config_path", "u.yaml", "--inference_ckpt_path", "u.pt", "--inference_steps", "20"]
LATENTSYNC += ["--guidance_scale", "1.5", "--enable_deepcache", "--temp_dir", "temp", "--seed", "1247"]
WAV2LIP = ["--checkpoint_path", "w.pth", "--pads", "0", "20", "0", "0", "--resize_factor", "2", "--nosmooth"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_package(tmp_path_factory.mktemp("models") / "toy")


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str, Path]:
    """A video of .56 s, speech of .8 s, and an output in a folder that is not there."""
    video = write_clip(tmp_path / "clip.mp4", steady(14, 25))
    return str(video), str(write_speech(tmp_path / "speech.wav", 0.8)), tmp_path / "results" / "dubbed.mp4"


def _code(main: Callable[[list[str]], None], words: list[str]) -> int:
    with pytest.raises(SystemExit) as ended:
        main(words)
    return int(ended.value.code or 0)


def _latentsync(files: tuple[str, str, Path], *further: str) -> list[str]:
    video, audio, output = files
    return ["--video_path", video, "--audio_path", audio, "--video_out_path", str(output), *further]


def _wav2lip(files: tuple[str, str, Path], *further: str) -> list[str]:
    video, audio, output = files
    return ["--face", video, "--audio", audio, "--outfile", str(output), *further]


def test_latentsync_gives_a_video_as_long_as_the_sound(
    files: tuple[str, str, Path], model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box = ["--model", str(model), "--box", f"{LEFT},{TOP},{RIGHT},{BOTTOM}"]
    assert _code(latentsync.main, _latentsync(files, *LATENTSYNC, *box)) == 0
    assert probe(files[2]).frame_count == 20
    said = capsys.readouterr().err
    assert "not used: --enable_deepcache, --guidance_scale, --inference_ckpt_path" in said
    assert "--seed" not in said


def test_wav2lip_gives_a_video_as_long_as_the_sound_and_replaces_what_is_there(
    files: tuple[str, str, Path], model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files[2].parent.mkdir()
    files[2].write_bytes(b"an older result")
    words = _wav2lip(files, *WAV2LIP, "--box", TOP, BOTTOM, LEFT, RIGHT, "--model", str(model))
    assert _code(wav2lip.main, words) == 0
    assert probe(files[2]).frame_count == 20
    assert "not used: --checkpoint_path, --nosmooth, --pads, --resize_factor" in capsys.readouterr().err


def test_further_options_are_those_of_dub(
    files: tuple[str, str, Path], model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = _wav2lip(files, "--model", str(model), "--dry-run", "--detector", "mediapipe")
    assert _code(wav2lip.main, words) == 0
    assert not files[2].exists() and files[0] in capsys.readouterr().out
    assert _code(wav2lip.main, [*words, "--no-such-option"]) == 2


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--rotate"], "rotation"),
        (["--crop", "0", "100", "0", "100"], "choose the face by --box"),
        (["--static", "True"], "give a video"),
        (["--face", "face.png"], "give a video"),
    ],
)
def test_what_cannot_be_done_is_refused(
    files: tuple[str, str, Path], words: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _code(wav2lip.main, [*_wav2lip(files), *words]) == 2
    assert reason in capsys.readouterr().err and not files[2].parent.exists()


def test_a_video_that_is_not_there_is_one_sentence(
    files: tuple[str, str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert _code(latentsync.main, _latentsync(("gone.mp4", *files[1:]))) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1 and "gone.mp4" in told[0]
