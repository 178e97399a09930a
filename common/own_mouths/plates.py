"""Smooth displacements between two sets of points, and pictures pulled along them."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator

Array = NDArray[np.float64]
Field = NDArray[np.float32]
Roi = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels of the frame; x1 and y1 are outside."""

_CUBIC = -0.75


def thin_plate(source: Array, goal: Array, roi: Roi, step: float, slack: float) -> Field:
    """Displacements of the thin plate that takes goal points to their source points.

    The plate is evaluated on a grid of about ``step`` pixels and interpolated cubically between.

    Args:
        source, goal: (P, 2) pixels.
        roi: pixels that are wanted, around the goal.
        step: of the grid, pixels.
        slack: smoothing of the plate, square pixels.

    Returns:
        (h, w, 2) float32: the pixel at goal position g comes from g + field.
    """
    x0, y0, x1, y1 = roi
    columns = max(2, int(np.ceil((x1 - x0) / step)) + 1)
    rows = max(2, int(np.ceil((y1 - y0) / step)) + 1)
    xs, ys = np.linspace(x0, x1 - 1, columns), np.linspace(y0, y1 - 1, rows)
    knots = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)
    plate = RBFInterpolator(goal, source - goal, kernel="thin_plate_spline", smoothing=slack)
    coarse = plate(knots).reshape(rows, columns, 2).astype(np.float32)
    # One axis after the other: small products instead of 16 taps for every pixel.
    down, across = _cubic(y1 - y0, rows), _cubic(x1 - x0, columns)
    return np.stack([down @ coarse[..., i] @ across.T for i in range(2)], axis=-1)


@lru_cache(32)
def _cubic(size: int, knots: int) -> Field:
    """(size, knots) weights of cubic convolution with a = -3/4 between knots, the ends of both together.

    Beyond the ends the outer knots go on.
    """
    away = np.abs(np.linspace(0, knots - 1, size)[:, None] - np.arange(-1, knots + 1))
    near = (_CUBIC + 2) * away**3 - (_CUBIC + 3) * away**2 + 1
    far = _CUBIC * (away**3 - 5 * away**2 + 8 * away - 4)
    weights = np.where(away <= 1, near, np.where(away < 2, far, 0.0))
    weights[:, 1] += weights[:, 0]
    weights[:, -2] += weights[:, -1]
    return np.ascontiguousarray(weights[:, 1:-1], np.float32)


def pulled(
    image: NDArray[np.uint8],
    field: Field,
    roi: Roi,
    origin: tuple[int, int] = (0, 0),
    resampling: int = cv2.INTER_LANCZOS4,
) -> NDArray[np.uint8]:
    """(h, w) or (h, w, 3) uint8: ``image`` seen through a field over ``roi``, by Lanczos: as sharp as film.

    Args:
        image: (H, W) or (H, W, 3) uint8.
        field: (h, w, 2) pixels, as of :func:`thin_plate`.
        roi: where the result lies in the frame.
        origin: frame pixel of the image's corner.
        resampling: of OpenCV's; cubic takes a third of the time and is less sharp.
    """
    x = np.arange(roi[0] - origin[0], roi[2] - origin[0], dtype=np.float32)
    y = np.arange(roi[1] - origin[1], roi[3] - origin[1], dtype=np.float32)[:, None]
    maps = field[..., 0] + x, field[..., 1] + y
    return np.asarray(cv2.remap(image, *maps, resampling, borderMode=cv2.BORDER_REPLICATE), np.uint8)
