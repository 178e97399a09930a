"""Whole dubs of imported releases against an account of them that is written down anew: from file to file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dub_clips import write_speech
from film_toys import film as drawn_film
from film_toys import talk
from release_account import Networks, Settings, dub, squares, tbdub_speech, xdub_speech
from release_toys import empty_prompt, write_release, write_tbdub
from safetensors.numpy import save_file
from typer.testing import CliRunner

from bootdub.cli.main import app
from common.face import build_detector
from common.media import Encoding, VideoWriter, load_audio, read_frames
from common.psnr import psnr
from stage2_dubber.dub.compositing.release_paste import frame_opacity, paste_as_released

SIDE, WINDOW, STEPS, RATE = 96, 13, 2, 25
SIZES = [
    "heads.transformer=2",
    "heads.audio=2",
    f"geometry.crop_size={SIDE}",
    f"geometry.clip_frames={WINDOW}",
]
CLOSE, EQUAL = 45.0, 57.0
"""dB to the account: as the release does it, which cuts to 8 bits wherever a picture becomes one, and with
rounding instead. What is left then are roundings that the last bits of float32 decide."""

Film = tuple[np.ndarray, np.ndarray]
"""Frames (N, H, W, 3) uint8 and landmarks (N, 68, 3)."""


@dataclass(frozen=True)
class Release:
    """A package of a toy release, and what the account takes for it."""

    package: Path
    networks: Networks
    settings: Settings


def _imported(command: str, folder: Path, output: Path, *words: str) -> Path:
    done = CliRunner().invoke(app, [command, str(folder), "--output", str(output), *SIZES, *words])
    assert done.exit_code == 0, done.stderr
    return output


def _xdub(folder: Path) -> Release:
    toy = write_release(folder / "xdub")
    words = (f"diffusion.num_steps={STEPS}", *toy.options)
    whisper = toy.whisper.half().float().get_encoder()
    whisper.layer_norm = torch.nn.Identity()
    networks = Networks(
        toy.transformer,
        toy.vae,
        lambda audio: xdub_speech(audio, whisper, toy.wav2vec2.wav2vec2),
        empty_prompt(toy.text.bfloat16().float()),
    )
    package = _imported("import-xdub", toy.folder, folder / "package", *words)
    return Release(package, networks, Settings(SIDE, WINDOW, steps=STEPS))


def _tbdub(folder: Path, variant: str, settings: Settings) -> Release:
    toy = write_tbdub(folder / "tbdub")
    words = (f"diffusion.num_steps={STEPS}", *toy.options)
    package = _imported("import-tbdub", toy.folder, folder / "package", "--variant", variant, *words)
    networks = Networks(
        toy.transformer.float(), toy.vae, lambda audio: tbdub_speech(audio, toy.hubert), toy.context.float()
    )
    return Release(package, networks, settings)


def _teacher(folder: Path) -> Release:
    scales = {"reference_scale": 2.0, "audio_scale": 6.0, "floor": 0.5}
    return _tbdub(folder, "teacher", Settings(SIDE, WINDOW, steps=STEPS, lab=True, **scales))


def _student(folder: Path) -> Release:
    return _tbdub(folder, "student", Settings(SIDE, WINDOW, steps=STEPS, shift=1.0, lab=True, student=True))


def _clip(folder: Path, frames: np.ndarray, landmarks: np.ndarray, seconds: float | None) -> list[str]:
    """A lossless clip, speech, and where its face is, as words of `bootdub dub`."""
    height, width = frames.shape[1:3]
    rate, unit = Fraction(RATE), Fraction(1, RATE)
    encoding = Encoding(lossless=True)
    with VideoWriter(folder / "v.mkv", width, height, rate=rate, time_base=unit, encoding=encoding) as writer:
        for index, frame in enumerate(frames):
            writer.write(frame, pts=index)
    write_speech(folder / "a.wav", seconds or len(frames) / RATE)
    save_file({"landmarks": landmarks.astype(np.float32)}, folder / "track.safetensors")
    given = {"--video": "v.mkv", "--audio": "a.wav", "--track": "track.safetensors"}
    return [word for option, name in given.items() for word in (option, str(folder / name))]


def _drawn(drift: int) -> Film:
    """A drawn head that is carried to the right by ``drift`` pixels per frame."""
    drawn = drawn_film(talk(22))
    frames = np.full((22, 192, 300, 3), 90, np.uint8)
    landmarks = drawn.landmarks.copy()
    for index, frame in enumerate(drawn.frames):
        first = 20 + drift * index
        frames[index, :, first : first + 192] = frame
        landmarks[index, :, 0] += first
    return frames, landmarks


def _dubbed(
    folder: Path, release: Release, film: Film, *words: str, seconds: float | None = None
) -> np.ndarray:
    """The frames that the command makes. ``seconds``: of the speech; None: of the clip."""
    output = folder / "o.mkv"
    model = ["--model", str(release.package), "--output", str(output), "--dtype", "float32", "--lossless"]
    clip = _clip(folder, *film, seconds)
    done = CliRunner().invoke(app, ["dub", *clip, *model, *words])
    assert done.exit_code == 0, done.stderr
    return read_frames(output)


def _account(folder: Path, release: Release, film: Film, **changes: Any) -> np.ndarray:
    frames, landmarks = film
    audio = load_audio(folder / "a.wav")
    return dub(frames, landmarks[..., :2], audio, release.networks, replace(release.settings, **changes))


def _assert_that_of_the_release(folder: Path, release: Release, film: Film) -> None:
    dubbed = _dubbed(folder, release, film)
    assert psnr(dubbed, film[0]) < 30, "the toy edits what it sees"
    assert psnr(dubbed, _account(folder, release, film)) > CLOSE
    assert psnr(dubbed, _account(folder, release, film, rounds=True)) > EQUAL


@pytest.fixture(scope="module")
def xdub(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return _xdub(tmp_path_factory.mktemp("xdub"))


@pytest.mark.parametrize("build", [_teacher, _student])
def test_tbdub_dubs_as_its_release(tmp_path: Path, build: Callable[[Path], Release]) -> None:
    _assert_that_of_the_release(tmp_path, build(tmp_path), _drawn(0))


def test_xdub_cuts_out_edits_and_puts_back_as_its_release(tmp_path: Path, xdub: Release) -> None:
    film = _drawn(3)
    boxes = squares(film[1][..., :2], 300, 192)
    assert boxes[-1, 0] - boxes[0, 0] > 15, "squares of one size that move"
    _assert_that_of_the_release(tmp_path, xdub, film)
    wanted = _account(tmp_path, xdub, film)
    for words in (["--crops", "head"], ["--compositing", "fused"]):
        other = _dubbed(tmp_path, xdub, film, *words, "--overwrite")
        assert psnr(other, wanted) < 40, "what is not as in the release shows"


def test_a_clip_goes_back_and_forth_under_longer_speech(tmp_path: Path, xdub: Release) -> None:
    film, order = _drawn(0), [*range(22), *range(20, 12, -1)]
    dubbed = _dubbed(tmp_path, xdub, film, "--length", "bounce", seconds=len(order) / RATE)
    longer = (film[0][order], film[1][order])
    assert psnr(dubbed, _account(tmp_path, xdub, longer, rounds=True)) > EQUAL


def test_filmed_faces_are_dubbed_as_by_the_release(tmp_path: Path, xdub: Release, footage: Path) -> None:
    path = sorted((footage / "dev" / "clean").glob("*.mp4"))[0]
    frames = read_frames(path)[:22]
    detector = build_detector("mediapipe")
    landmarks = np.stack([detector.detect(frame)[0].landmarks for frame in frames])
    _assert_that_of_the_release(tmp_path, xdub, (frames, landmarks))


def test_a_square_passes_softly_into_its_frame() -> None:
    """By hand: the middle is the edit's, the outside the frame's; sides at the picture's edge do not fade."""
    image = np.full((90, 120, 3), 100, np.uint8)
    source, edited = np.full((64, 64, 3), 100, np.uint8), np.full((64, 64, 3), 200, np.uint8)
    box = np.array([30, 20, 110, 90])
    pasted = paste_as_released(image, edited, source, box)[..., 0]
    outside = np.ones((90, 120), bool)
    outside[20:90, 30:110] = False
    assert (pasted[outside] == 100).all() and pasted[60, 70] == 200
    # Eight zeros from the side on, mirrored there: 17 neighbours hold x + 1 ones (two at the side itself).
    once = [2, *range(2, 10)]
    twice = (once[0] + 2 * sum(once[1:])) / 17**2
    assert frame_opacity(80, 70, (True, False, True, True))[35, 0] == pytest.approx(twice, abs=1e-6)
    assert frame_opacity(80, 70, (True, False, True, True))[69, 40] == 1
    row = pasted[60, 30:70].astype(int)
    assert (np.diff(row) >= 0).all() and row[0] < 120 and row[-1] == 200
    untouched = paste_as_released(image, source, source, box)
    np.testing.assert_array_equal(untouched, image)
