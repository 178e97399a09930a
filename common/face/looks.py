"""What a face looks like whatever it says: enough to tell most people apart without a recognition network.

The proportions of eyes, brows and nose, which do not move with speech, and the colour of the skin.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from common.face.layout import RIGID_UPPER
from common.face.pose import HeadPose

Array = NDArray[np.float64]

# Brows, nose and eyes; and where skin is looked at, as pairs of points whose middle it is.
_POINTS = (17, 19, 21, 22, 24, 26, *range(27, 48))
_SKIN = ((33, 51), (2, 31), (14, 35))
_SKIN_REACH = 2  # pixels
# Differences that count 1: RMS of the points (eye-corner distances), log ratio of a colour's share. Two
# halves of one clip lie at 0.3 to 2.4 in sum (13 clips), two persons at 1.7 and more.
_GEOMETRY, _COLOUR = 0.012, 0.08
_MOST = 30


class Looks:
    """The looks of one face, collected from its first 30 frames."""

    def __init__(self) -> None:
        self._seen: list[tuple[Array, Array]] = []

    @property
    def full(self) -> bool:
        """Whether further frames are not looked at."""
        return len(self._seen) >= _MOST

    def add(self, image: NDArray[np.uint8], points: NDArray[np.floating], pose: HeadPose) -> None:
        """One frame: (H, W, 3), landmarks (68, 3) and the pose fitted to them."""
        if not self.full:
            self._seen.append((_proportions(np.asarray(points, np.float64), pose), _skin(image, points)))

    def medians(self) -> tuple[Array, Array]:
        """(P, 2) proportions and (3,) colour."""
        return np.median([g for g, _ in self._seen], axis=0), np.median([c for _, c in self._seen], axis=0)


def looks_apart(looks: tuple[Array, Array], other: tuple[Array, Array]) -> Array:
    """How different faces look, from 0; of leading axes in either each with the other."""
    geometry = np.sqrt(np.square(looks[0] - other[0]).sum(axis=-1).mean(axis=-1)) / _GEOMETRY
    return np.asarray(geometry + np.abs(looks[1] - other[1]).max(axis=-1) / _COLOUR)


def _proportions(points: Array, pose: HeadPose) -> Array:
    """(P, 2) brows, nose and eyes of the head turned to the front, in eye-corner distances."""
    centred = points - points[list(RIGID_UPPER)].mean(axis=0)
    return (centred @ pose.rotation[0])[list(_POINTS), :2] / pose.scale[0]


def _skin(image: NDArray[np.uint8], points: NDArray[np.floating]) -> Array:
    """(3,) logarithms of the shares of red, green and blue in the skin: the light's strength cancels."""
    height, width = image.shape[:2]
    colours = []
    for a, b in _SKIN:
        x, y = np.rint((points[a, :2] + points[b, :2]) / 2).astype(int)
        x, y = min(max(x, 0), width - 1), min(max(y, 0), height - 1)
        part = image[
            max(0, y - _SKIN_REACH) : y + _SKIN_REACH + 1, max(0, x - _SKIN_REACH) : x + _SKIN_REACH + 1
        ]
        colours.append(part.reshape(-1, 3).mean(axis=0))
    colour = np.mean(colours, axis=0) + 1
    return np.log(colour / colour.sum())
