"""Frames of a video on the clock of 25 per second, streamed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.media import VideoReader, resample_indices
from evaluation.dubbed_clip import RATE


def shown_frames(path: Path) -> NDArray[np.int64]:
    """(M,) the frame of the video that is on display at each moment of the clock."""
    with VideoReader(path) as reader:
        return resample_indices(reader.times(), RATE)


def frames_at(path: Path, indices: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
    """The pictures (H, W, 3) uint8 of frames ``indices``, which must not decrease; one is held at a time."""
    with VideoReader(path) as reader:
        frames = iter(reader)
        frame = next(frames)
        for wanted in indices:
            while frame.index < wanted:
                frame = next(frames)
            yield frame.image
