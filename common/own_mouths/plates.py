"""Smooth displacements between two sets of points, and pictures pulled along them."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator

Array = NDArray[np.float64]
Field = NDArray[np.float32]
Roi = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels of the frame; x1 and y1 are outside."""


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
    width, height = x1 - x0, y1 - y0
    to_x = np.arange(width, dtype=np.float32) * (columns - 1) / max(width - 1, 1)
    to_y = np.arange(height, dtype=np.float32) * (rows - 1) / max(height - 1, 1)
    map_x, map_y = np.meshgrid(to_x, to_y)
    field = cv2.remap(coarse, map_x, map_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(field, np.float32)


def pixel_grid(roi: Roi) -> tuple[Field, Field]:
    """x and y of every pixel of ``roi``, (h, w) float32 each."""
    y, x = np.mgrid[roi[1] : roi[3], roi[0] : roi[2]].astype(np.float32)
    return x, y


def pulled(
    image: NDArray[np.uint8], field: Field, roi: Roi, origin: tuple[int, int] = (0, 0)
) -> NDArray[np.uint8]:
    """(h, w, 3) uint8: ``image`` seen through a field over ``roi``, by Lanczos: as sharp as film.

    Args:
        image: (H, W, 3) uint8.
        field: (h, w, 2) pixels, as of :func:`thin_plate`.
        roi: where the result lies in the frame.
        origin: frame pixel of the image's corner.
    """
    x, y = pixel_grid(roi)
    maps = x + field[..., 0] - origin[0], y + field[..., 1] - origin[1]
    return np.asarray(cv2.remap(image, *maps, cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REPLICATE), np.uint8)
