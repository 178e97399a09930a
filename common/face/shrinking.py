"""Pictures made several times smaller: each pixel is the mean of all that it covers.

Summed-area tables are read where the edges of the new pixels lie, between the source's pixels too: every
source pixel is looked at once, and nothing aliases.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from common.face.types import ImageArray

_BAND = 1 << 16
"""Source pixels that are summed at once: they stay in the cache."""


def shrunk(image: ImageArray, matrix: NDArray[np.float64], shape: tuple[int, int]) -> ImageArray:
    """``image`` scaled down and moved; beyond its edges it is reflected.

    Args:
        image: (H, W, 3) or (H, W) uint8.
        matrix: (2, 3) affine, without rotation, from pixels of ``image`` to those of the result (an integer
            coordinate is the centre of a pixel).
        shape: width and height of the result.

    Returns:
        (height, width, 3) or (height, width) uint8.
    """
    image, across, beside = _cut(image, matrix, shape[0], axis=0)
    image, down, below = _cut(image, matrix, shape[1], axis=1)
    area = matrix[0, 0] * matrix[1, 1]
    rows = max(1, int(_BAND * area / shape[0]))
    result = np.empty((shape[1], shape[0], *image.shape[2:]), np.uint8)
    for first in range(0, shape[1], rows):
        band = slice(first, first + rows + 1)
        start, stop = down[band][0], down[band][-1] + 1
        sums = _between(cv2.integral(image[start:stop]), down[band] - start, below[band], axis=0)
        result[first : first + rows] = np.rint(_between(sums, across, beside, axis=1) * area)
    return result


def _cut(
    image: ImageArray, matrix: NDArray[np.float64], count: int, axis: int
) -> tuple[ImageArray, NDArray[np.int64], NDArray[np.float64]]:
    """What ``count`` new pixels cover along x (``axis`` 0) or y (1).

    Returns:
        That part of the image; for the (count + 1) edges of the new pixels the pixel of it that they go
        through, and how far into that pixel, 0 to 1.
    """
    edges = (np.arange(count + 1) - 0.5 - matrix[axis, 2]) / matrix[axis, axis] + 0.5
    low = int(np.floor(edges[0]))
    high = max(low + 1, int(np.ceil(edges[-1])))
    places, length = np.arange(low, high), image.shape[1 - axis]
    if low >= 0 and high <= length:
        image = image[low:high] if axis else image[:, low:high]
    else:
        there_and_back = max(1, 2 * (length - 1))
        places %= there_and_back
        image = image.take(np.minimum(places, there_and_back - places), axis=1 - axis)
    # The last edge may be the end of the last pixel.
    whole = np.minimum(np.floor(edges - low).astype(np.int64), high - low - 1)
    return image, whole, edges - low - whole


def _between(
    totals: NDArray, whole: NDArray[np.int64], part: NDArray[np.float64], axis: int
) -> NDArray[np.float64]:
    """Sums between edges, from running sums along ``axis``, one more than there are pixels."""
    at = totals.take(whole, axis)
    pixels = totals.take(whole + 1, axis) - at
    sums = pixels * np.expand_dims(part, tuple(i for i in range(totals.ndim) if i != axis))
    sums += at
    return np.diff(sums, axis=axis)
