"""How sharp the lips of a frame are, whatever they show."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_LEAST = 1e-3
# Slopes are the median over pairs of so many frames at the most.
_MOST_FRAMES = 400


def picture_sharpness(lips: NDArray[np.uint8]) -> float:
    """Mean square of the Laplacian of a picture (h, w, 3) of the lips."""
    grey = cv2.cvtColor(lips, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return float(np.square(cv2.Laplacian(cv2.GaussianBlur(grey, (0, 0), 0.7), cv2.CV_32F)).mean())


def theil_sen_slope(x: Array, y: Array) -> float:
    """Median slope of the lines through two points of other ``x``; 0 where there are none.

    As `scipy.stats.theilslopes`, without its half a second of imports at the start of every dub.
    """
    first, second = np.triu_indices(len(x), 1)
    run = x[second] - x[first]
    some = run != 0
    return float(np.median((y[second] - y[first])[some] / run[some])) if some.any() else 0.0


@dataclass(frozen=True)
class FrameSharpness:
    """How sharp the lips are in the frames in which they were seen.

    Attributes:
        frames: (N,) rising.
        values: (N,) of these.
    """

    frames: NDArray[np.int64]
    values: Array

    def __len__(self) -> int:
        return len(self.frames)

    def of(self, frames: NDArray[np.int64]) -> Array:
        """(M,) of any frames; of those not seen the median of the others."""
        places = np.searchsorted(self.frames, frames).clip(max=len(self) - 1)
        return np.where(self.frames[places] == frames, self.values[places], np.median(self.values))


def compared_at_one_opening(seen: Array) -> Array:
    """Sharpness of each frame as if all mouths were as open as the clip's usual one.

    An open mouth shows teeth and a dark inside, so that its picture has more edges than that of closed lips
    (log sharpness and gap correlate by .4 to .84 in nine clips). What the opening explains is taken out:
    log sharpness rises with the square root of the gap, by the Theil-Sen slope, which blurred frames do not
    bend.

    Args:
        seen: (N, 2) sharpness and gap of the lips.

    Returns:
        (N,).
    """
    if not len(seen):
        return np.zeros(0)
    level, root = np.log(np.maximum(seen[:, 0], _LEAST)), np.sqrt(np.maximum(seen[:, 1], 0))
    some = np.unique(np.linspace(0, len(level) - 1, min(len(level), _MOST_FRAMES)).astype(int))
    level -= max(theil_sen_slope(root[some], level[some]), 0.0) * (root - np.median(root))
    return np.asarray(np.exp(level))
