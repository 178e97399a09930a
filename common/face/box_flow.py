"""A box that is carried along by optical flow: drawn, masked and other faces that no detector finds."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from common.face.types import FloatArray, ImageArray

# What is looked at: the box grown to this many times its size, at this many pixels.
_REGION, _SIDE = 1.5, 192
_MOST_POINTS, _LEAST_POINTS = 120, 8
# Pixels of the region by which a point may miss its start when it is carried there and back.
_THERE_AND_BACK = 1.0
# Share of the points that must move together.
_TOGETHER = 0.5
# A box that was lost is looked for this long where it was.
_PATIENCE = 25

Grey = NDArray[np.uint8]
Motion = tuple[float, NDArray[np.float64]]
"""Scale and shift, in pixels of the region, from its middle."""


class BoxFlow:
    """Follows what the first picture shows in a box.

    Each picture is compared with the one before it, and then with the first (or the last that still looked
    alike), so that errors do not add up.

    Args:
        box: (4,) x0, y0, x1, y1 in pixels of the first picture.
    """

    def __init__(self, box: FloatArray) -> None:
        self._start = np.asarray(box, np.float64)
        self.restart()

    def restart(self) -> None:
        """The next picture is the first."""
        self._box = self._start
        self._last: Grey | None = None
        self._key: Grey | None = None
        self._lost = 0

    def lose(self) -> None:
        """The next picture shows another place: the box is not found any more."""
        if self._last is not None:
            self._lost = _PATIENCE + 1

    def follow(self, image: ImageArray) -> FloatArray | None:
        """The box in the next picture (H, W, 3), x0 y0 x1 y1; None where it is lost."""
        if self._lost > _PATIENCE:
            return None
        here = _region(image, self._box)
        if self._last is None or self._key is None:
            self._last = self._key = here
            return self._box.astype(np.float32)
        step = _motion(self._last, here)
        if step is None:
            self._lost += 1
            return None
        box = _moved(self._box, step)
        here = _region(image, box)
        correction = _motion(self._key, here)
        if correction is None:
            self._key = here
        else:
            box = _moved(box, correction)
            here = _region(image, box)
        self._box, self._last, self._lost = box, here, 0
        return box.astype(np.float32)


def _region(image: ImageArray, box: NDArray[np.float64]) -> Grey:
    """(192, 192) grey levels of the box's surroundings."""
    scale = _SIDE / (_REGION * float((box[2:] - box[:2]).max()))
    shift = (_SIDE - 1) / 2 - scale * (box[:2] + box[2:]) / 2
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    cut = cv2.warpAffine(image, matrix, (_SIDE, _SIDE), flags=kind, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.cvtColor(cut, cv2.COLOR_RGB2GRAY), np.uint8)


def _motion(before: Grey, after: Grey) -> Motion | None:
    """How the middle of a region has moved; None where too few points move together."""
    away = np.abs(np.arange(_SIDE) - (_SIDE - 1) / 2)
    mask = (255 * (np.hypot(away[:, None], away) < _SIDE / 2 / _REGION)).astype(np.uint8)
    points = cv2.goodFeaturesToTrack(before, _MOST_POINTS, 0.01, 4, mask=mask)
    if points is None or len(points) < _LEAST_POINTS:
        return None
    there, found, _ = cv2.calcOpticalFlowPyrLK(before, after, points, np.empty_like(points))
    back, again, _ = cv2.calcOpticalFlowPyrLK(after, before, there, np.empty_like(points))
    good = (np.asarray(found) & np.asarray(again)).ravel().astype(bool)
    good &= np.linalg.norm((back - points)[:, 0], axis=1) < _THERE_AND_BACK
    if good.sum() < max(_LEAST_POINTS, _TOGETHER * len(points)):
        return None
    middle = (_SIDE - 1) / 2
    start, end = points[good, 0] - middle, there[good, 0] - middle
    matrix, together = cv2.estimateAffinePartial2D(start, end, ransacReprojThreshold=1.5)
    if matrix is None or together.sum() < max(_LEAST_POINTS, _TOGETHER * good.sum()):
        return None
    return float(np.hypot(matrix[0, 0], matrix[1, 0])), np.asarray(matrix[:, 2], np.float64)


def _moved(box: NDArray[np.float64], motion: Motion) -> NDArray[np.float64]:
    scale, shift = motion
    pixel = _REGION * float((box[2:] - box[:2]).max()) / _SIDE
    middle = (box[:2] + box[2:]) / 2 + pixel * shift
    half = scale * (box[2:] - box[:2]) / 2
    return np.concatenate([middle - half, middle + half])
