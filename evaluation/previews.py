"""Small clips and pictures of a row for the report."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from common.files import PathLike
from common.media import SAMPLE_RATE, Encoding, VideoWriter, contact_sheet, save_wav, tile
from evaluation.dubbed_clip import RATE, Frames

PREVIEW_HEIGHT = 192
STRIP_HEIGHT = 72
STRIP_COLUMNS = 12
# Looked at, never measured: a few tens of kilobytes per second.
_ENCODING = Encoding(crf=27)


def write_preview(
    path: PathLike,
    videos: Sequence[tuple[str, Frames]],
    sound: NDArray[np.float32] | None = None,
    *,
    rate: float = RATE,
    sound_rate: int = SAMPLE_RATE,
) -> None:
    """Write versions of a clip side by side as a small H.264 MP4 with AAC sound. Whole or absent.

    Args:
        path: ends in ``.mp4``.
        videos: (label, (N, H, W, 3) uint8 frames), cut to the shortest; at most
            :data:`PREVIEW_HEIGHT` high each.
        sound: (samples,) in [-1, 1], cut to the length of the pictures; None for no sound.
        rate: frames per second.
        sound_rate: samples per second.
    """
    count = min((len(frames) for _, frames in videos), default=0)
    if count == 0:
        raise ValueError("a preview needs at least one video and one frame in each")
    labels = [label for label, _ in videos]
    with tempfile.TemporaryDirectory() as folder:
        wav = None
        if sound is not None and len(sound):
            wav = Path(folder) / "sound.wav"
            save_wav(wav, sound[: round(count / rate * sound_rate)], sound_rate)
        first = _moment(videos, 0, labels)
        height, width = first.shape[:2]
        with VideoWriter(path, width, height, rate=rate, encoding=_ENCODING, audio_from=wav) as writer:
            writer.write(first)
            for k in range(1, count):
                writer.write(_moment(videos, k, labels))


def _moment(videos: Sequence[tuple[str, Frames]], k: int, labels: list[str]) -> Frames:
    """Frame ``k`` of every version, all as high as the first."""
    images = [frames[k] for _, frames in videos]
    height, width = images[0].shape[:2]
    if height > PREVIEW_HEIGHT:
        size = (max(1, round(width * PREVIEW_HEIGHT / height)), PREVIEW_HEIGHT)
        images[0] = cv2.resize(images[0], size, interpolation=cv2.INTER_AREA)
    return tile(images, labels)


def write_strip(
    path: PathLike,
    rows: Sequence[tuple[str, Frames]],
    *,
    columns: int = STRIP_COLUMNS,
    height: int = STRIP_HEIGHT,
) -> None:
    """Write evenly spaced moments of some versions' mouths below each other. Whole or absent.

    Args:
        path: ``.jpg`` (small) or ``.png``.
        rows: (label, (N, h, w, 3) uint8 frames), N >= 1.
        columns: at most so many moments.
        height: of a moment, pixels.
    """
    contact_sheet(rows, path, columns=columns, height=height)
