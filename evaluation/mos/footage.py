"""One look for all videos of a page: the same size, rate, length, codec and sound format."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from common.errors import UserError
from common.media import Encoding, load_audio, probe, save_wav, write_video
from evaluation.clip_frames import frames_at
from evaluation.clip_frames import shown_frames as moments
from evaluation.dubbed_clip import RATE, Frames

SOUND_RATE = 48000
_QUALITY = 16  # H.264 crf: what raters see is the systems' work, not this encoder's
_ASPECT_TOLERANCE = 0.02
# Times of making would tell the order of making.
_SAME_TIME = 946684800.0


@dataclass(frozen=True)
class Form:
    """Of all videos of one page: width and height in pixels, frames at 25 per second."""

    width: int
    height: int
    count: int


def common_form(original: Path, dubs: Iterable[Path], seconds: float, height: int) -> Form:
    """The original's shape, at most ``height`` pixels high; the shortest's length, at most ``seconds``.

    Raises:
        UserError: a file is no video, or a dub has another aspect than the original.
    """
    form = _shape(original, height)
    count = min(_length(original), int(seconds * RATE))
    for path in dubs:
        shape = _shape(path, height)
        if abs(shape[0] * form[1] / (shape[1] * form[0]) - 1) > _ASPECT_TOLERANCE:
            raise UserError(
                f"The dub '{path}' has another aspect than '{original}', which would give its system away: "
                "give dubs of the whole picture."
            )
        count = min(count, _length(path))
    return Form(*form, count)


def _shape(path: Path, height: int) -> tuple[int, int]:
    info = probe(path)
    width = float(info.width * info.pixel_aspect)
    scale = min(1.0, height / info.height)
    # Even sides: all players show 4:2:0.
    return max(2, 2 * round(width * scale / 2)), max(2, 2 * round(info.height * scale / 2))


def _length(path: Path) -> int:
    return len(moments(path))


def shown_frames(path: Path, form: Form) -> Iterator[Frames]:
    """The pictures of a page's video, (height, width, 3) uint8 each, in constant memory."""
    for image in frames_at(path, moments(path)[: form.count]):
        yield _resized(image, form)


def _resized(image: Frames, form: Form) -> Frames:
    if image.shape[:2] == (form.height, form.width):
        return image
    smaller = image.shape[0] > form.height
    how = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (form.width, form.height), interpolation=how), np.uint8)


def write_shown(path: Path, frames: Iterable[Frames], sound: Path, form: Form) -> None:
    """Write a page's video: H.264 and mono AAC, nothing in it that says where it comes from.

    Args:
        sound: any file with sound; cut, or filled with silence, to the pictures' length.
    """
    length = round(form.count / RATE * SOUND_RATE)
    heard = load_audio(sound, SOUND_RATE)[:length]
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "sound.wav"
        save_wav(wav, np.pad(heard, (0, length - len(heard))), SOUND_RATE)
        write_video(path, frames, rate=RATE, encoding=Encoding("libx264", _QUALITY), audio_from=wav)
    os.utime(path, (_SAME_TIME, _SAME_TIME))
