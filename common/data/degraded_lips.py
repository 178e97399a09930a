"""Lips at low resolution within a sharp face: what a model for super-resolution of lips is shown.

EdiDub §3.2 (SRD): the lips of a clip are brought down to a few pixels and up again, bicubically both ways,
and the model learns to make the clip itself of it. The condition is augmented by its resolution, which is
drawn anew for every clip, and by lips that are now and then those of the frame before.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from common.data.config import DegradedLipsConfig
from common.data.schema import Frames
from common.face.masks import mouth_mask

_FEATHER = 1 / 64
"""Deviation of the soft edge of the region, as a share of the crop's side."""

Opacity = NDArray[np.float32]
"""(N, S, S), 1 where lips are or can be, falling softly to 0."""


def mouth_opacity(landmarks: NDArray[np.floating], size: int) -> Opacity:
    """Where lips are degraded, and where refined ones are taken; landmarks (N, 68, 3) in crop pixels."""
    masks = mouth_mask(landmarks, size).astype(np.float32)
    blurred = np.stack([cv2.GaussianBlur(mask, (0, 0), _FEATHER * size) for mask in masks])
    blurred[blurred < 1 / 255] = 0.0
    return blurred


def degrade_lips(
    frames: Frames, opacity: Opacity, side: int, repeated: NDArray[np.bool_] | None = None
) -> Frames:
    """Crops whose lips have lost their detail.

    Args:
        frames: (N, S, S, 3) uint8.
        opacity: of :func:`mouth_opacity`.
        side: pixels of the whole crop's side that the lips are brought down to.
        repeated: (N,) frames that show the lips of the frame before; never the first.

    Returns:
        (N, S, S, 3) uint8; where the opacity is 0 the bytes are those of ``frames``.
    """
    low = _low_resolution(frames, side)
    if repeated is not None:
        low = low[np.arange(len(low)) - repeated]
    weight = opacity[..., None]
    mixed = frames + weight * (low - frames)
    return np.where(weight > 0, np.rint(mixed), frames).clip(0, 255).astype(np.uint8)


def draw_degraded_lips(
    frames: Frames, landmarks: NDArray[np.floating], generator: torch.Generator, config: DegradedLipsConfig
) -> Frames:
    """:func:`degrade_lips` as ``config`` says; a pure function of its arguments and the generator's state.

    Args:
        frames: (N, S, S, 3) uint8 of one clip.
        landmarks: (N, 68, 3) in its pixels.
    """
    least, most = config.resolution
    side = int(torch.randint(least, most + 1, (1,), generator=generator))
    repeated = (torch.rand(len(frames), generator=generator) < config.repeated).numpy()
    repeated[0] = False
    return degrade_lips(frames, mouth_opacity(landmarks, frames.shape[1]), side, repeated)


def _low_resolution(frames: Frames, side: int) -> NDArray[np.float32]:
    """(N, S, S, 3) without what ``side`` pixels cannot show."""
    pictures = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float()
    small = functional.interpolate(pictures, size=(side, side), mode="bicubic", antialias=True)
    whole = functional.interpolate(small, size=pictures.shape[2:], mode="bicubic")
    return whole.permute(0, 2, 3, 1).numpy()
