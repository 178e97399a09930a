"""Smooth displacements between two sets of points, and pictures pulled along them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Field = NDArray[np.float32]
Roi = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels of the frame; x1 and y1 are outside."""

_CUBIC = -0.75


def thin_plate(source: Array, goal: Array, roi: Roi, step: float, slack: float) -> Field:
    """The only plate of :func:`thin_plates`, through all points."""
    return thin_plates(source, goal, [np.arange(len(goal))], roi, step, slack)[0]


def thin_plates(
    source: Array, goal: Array, members: Sequence[NDArray[np.int64]], roi: Roi, step: float, slack: float
) -> list[Field]:
    """Displacements of thin plates that take goal points to their source points.

    A plate is d(g) = sum_i w_i U(|g - g_i|) + a + B g with U(r) = r^2 log r; w, a and B solve
    d(g_i) + slack w_i = s_i - g_i with sum w_i = 0 and sum w_i g_i = 0, as
    `scipy.interpolate.RBFInterpolator` does. Plates share most of their points, and U is the dear part: it is
    computed once for all of them. They are evaluated on a grid of about ``step`` pixels and interpolated
    cubically between.

    Args:
        source, goal: (P, 2) pixels.
        members: for each plate, the points that it goes through.
        roi: pixels that are wanted, around the goal.
        step: of the grid, pixels.
        slack: smoothing of the plates, square pixels.

    Returns:
        (2, h, w) float32, x and y, for each plate: the pixel at goal position g comes from g + field.
    """
    x0, y0, x1, y1 = roi
    columns = max(2, int(np.ceil((x1 - x0) / step)) + 1)
    rows = max(2, int(np.ceil((y1 - y0) / step)) + 1)
    knots = np.empty((rows, columns, 2))
    knots[..., 0], knots[..., 1] = np.linspace(x0, x1 - 1, columns), np.linspace(y0, y1 - 1, rows)[:, None]
    places = np.concatenate([goal, knots.reshape(-1, 2)])
    bent = _bent(places, goal)
    # About the middle of the points and in units of their spread, so that the system is well conditioned.
    flat = np.concatenate([np.ones((len(places), 1)), (places - goal.mean(axis=0)) / np.ptp(goal)], axis=1)
    moves, count = source - goal, len(goal)
    # One axis after the other: small products instead of 16 taps for every pixel.
    down, across = _cubic(y1 - y0, rows), _cubic(x1 - x0, columns)
    fields = []
    for ids in members:
        own = len(ids)
        system, right = np.zeros((own + 3, own + 3)), np.zeros((own + 3, 2))
        system[:own, :own] = bent[ids][:, ids]
        system[range(own), range(own)] += slack
        system[:own, own:], system[own:, :own] = flat[ids], flat[ids].T
        right[:own] = moves[ids]
        weights = np.linalg.solve(system, right)
        coarse = bent[count:, ids] @ weights[:own] + flat[count:] @ weights[own:]
        planes = coarse.T.reshape(2, rows, columns).astype(np.float32)
        fields.append(down @ planes @ across.T)
    return fields


def _bent(places: Array, points: Array) -> Array:
    """(N, P) of r^2 log r, r the distances of places (N, 2) from points (P, 2)."""
    square = np.square(places[:, :1] - points[:, 0]) + np.square(places[:, 1:] - points[:, 1])
    return np.asarray(0.5 * square * np.log(np.maximum(square, np.finfo(np.float64).tiny)))


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


def shifted(planes: Field, flow: Field) -> Field:
    """(C, h, w) float32 ``planes`` at p + flow(p) of every pixel p, those of the border beyond it.

    Args:
        planes: (C, h, w). flow: (2, h, w) pixels, x and y.
    """
    height, width = flow.shape[1:]
    x = flow[0] + np.arange(width, dtype=np.float32)
    y = flow[1] + np.arange(height, dtype=np.float32)[:, None]
    seen = [cv2.remap(p, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for p in planes]
    return np.asarray(seen, np.float32)


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
        field: (2, h, w) pixels, as of :func:`thin_plates`.
        roi: where the result lies in the frame.
        origin: frame pixel of the image's corner.
        resampling: of OpenCV's; cubic takes a third of the time and is less sharp.
    """
    x = np.arange(roi[0] - origin[0], roi[2] - origin[0], dtype=np.float32)
    y = np.arange(roi[1] - origin[1], roi[3] - origin[1], dtype=np.float32)[:, None]
    maps = field[0] + x, field[1] + y
    return np.asarray(cv2.remap(image, *maps, resampling, borderMode=cv2.BORDER_REPLICATE), np.uint8)
