"""A smooth change of shape: the same person with another face, for pairs of few speakers (ours)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.data.photometric import Picture

# Rows and columns of random offsets: neighbours are about as far apart as an eye from the mouth.
_GRID = 4
# Offsets change by at most this many pixels per pixel: at 1 the picture folds over itself.
_STEEPEST = 0.8
# Fixed-point steps from a point to its new place; each leaves at most _STEEPEST of the error.
_STEPS = 24


@dataclass(frozen=True)
class Warp:
    """Every frame of a clip is bent alike.

    Attributes:
        offsets: (S, S, 2) float32 pixels (x, y): where, from its own place, a pixel is taken from.
    """

    offsets: NDArray[np.float32]

    def __call__(self, number: int, picture: Picture) -> Picture:
        """The bent picture (S, S, 3); beyond its border the border is repeated."""
        made = bent(picture, self.offsets, cv2.INTER_LANCZOS4, cv2.BORDER_REPLICATE)
        return np.asarray(made, np.float32)

    def landmarks(self, points: Tensor) -> Tensor:
        """(N, 68, 3) in pixels where the bent pictures show them; depth stays."""
        wanted = points[..., :2].detach().cpu().numpy().astype(np.float32)
        known = np.isfinite(wanted)
        start = np.where(known, wanted, 0)
        place = start
        for _ in range(_STEPS):
            place = start - _sampled(self.offsets, place)
        moved = points.clone()
        moved[..., :2] = torch.from_numpy(np.where(known, place, np.nan)).to(points)
        return moved

    def masks(self, pooled: Tensor) -> Tensor:
        """(F, S/b, S/b) masks of blocks of b pixels: each block as the one that its middle comes from."""
        rows, columns = pooled.shape[-2:]
        block = self.offsets.shape[0] / rows
        middles = (np.mgrid[:rows, :columns][::-1].transpose(1, 2, 0) + 0.5) * block - 0.5
        taken = middles + _sampled(self.offsets, middles.astype(np.float32))
        x, y = np.floor((taken + 0.5) / block).astype(np.int64).transpose(2, 0, 1)
        return pooled[..., y.clip(0, rows - 1), x.clip(0, columns - 1)]


def warp(rng: np.random.Generator, deviation: float, side: int) -> Warp:
    """A random field of offsets for pictures of ``side`` pixels.

    ``deviation`` is that of the offsets in pixels, at the field's knots; steep fields are made smaller, so
    that no picture folds over itself.
    """
    knots = rng.normal(0, deviation, (_GRID, _GRID, 2)).astype(np.float32)
    offsets = np.asarray(cv2.resize(knots, (side, side), interpolation=cv2.INTER_CUBIC), np.float32)
    steepest = max(float(np.abs(np.diff(offsets, axis=axis)).max()) for axis in (0, 1))
    return Warp(offsets * np.float32(min(1.0, _STEEPEST / max(steepest, 1e-6))))


def bent(
    picture: NDArray[Any], offsets: NDArray[np.float32], interpolation: int, border: int
) -> NDArray[Any]:
    """A picture (S, S, 3) whose pixels are taken ``offsets`` (S, S, 2), x and y, from their own places.

    ``interpolation`` and ``border`` are OpenCV's.
    """
    height, width = offsets.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x, y = x + offsets[..., 0], y + offsets[..., 1]
    return np.asarray(cv2.remap(picture, x, y, interpolation, borderMode=border))


def _sampled(field: NDArray[np.float32], places: NDArray[np.float32]) -> NDArray[Any]:
    """A field (S, S, 2) at places (..., 2), between its pixels linearly."""
    x, y = places.reshape(1, -1, 2).transpose(2, 0, 1)
    made = cv2.remap(field, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(made).reshape(places.shape)
