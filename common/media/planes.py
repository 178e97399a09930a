"""The samples of pictures as arrays, one per plane."""

from __future__ import annotations

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray


def planes_of(picture: VideoFrame, copy: bool = True) -> list[NDArray]:
    """The planes of a planar picture, (h, w) uint8, or uint16 where samples have more bits.

    Args:
        picture: of a planar format.
        copy: give copies; else the picture's own samples, which live as long as it does.
    """
    kind = np.uint8 if picture.format.components[0].bits == 8 else np.dtype("<u2")
    found = []
    for plane in picture.planes:
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: plane.height]
        samples = rows[:, : plane.width * np.dtype(kind).itemsize]
        found.append((samples.copy() if copy else samples).view(kind))
    return found


def assembled(name: str, planes: list[NDArray]) -> VideoFrame:
    """A picture of the planar format ``name`` (FFmpeg's) with a copy of these planes."""
    height, width = planes[0].shape
    picture = VideoFrame(width, height, name)
    for plane, samples in zip(picture.planes, planes, strict=True):
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        raw = np.ascontiguousarray(samples).view(np.uint8)
        rows[: plane.height, : raw.shape[1]] = raw
    return picture
