"""The X-Dub release's way of putting an edited crop back into its frame (R), for squares that it planned.

The crop first passes into its own source near its edge, and the square that becomes of both into the frame.
What lies between the two edges is therefore the source as the crop shows it, resampled.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

CROP_SHARE = 1 / 32
"""Edge of the crop that keeps its source, before it is blurred, as a share of the side: 16 pixels of 512."""
FRINGE = 8
"""Pixels of the frame along the square's sides, before they are blurred, that keep the frame."""


def paste_as_released(
    image: NDArray[np.uint8], edited: NDArray[np.uint8], source: NDArray[np.uint8], box: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """A copy of ``image`` with an edited crop in its square.

    Args:
        image: (H, W, 3) frame.
        edited: (S, S, 3).
        source: (S, S, 3), the crop before its edit.
        box: (4,) x0, y0, x1, y1, whole pixels inside the picture.

    Returns:
        (H, W, 3), outside the square the bytes of ``image``; rounded to 8 bits, where the release truncates.
    """
    x0, y0, x1, y1 = (int(corner) for corner in box)
    mask = crop_opacity(len(edited))
    mixed = cv2.blendLinear(source, edited, 1 - mask, mask)
    square = cv2.resize(mixed, (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR)
    height, width = image.shape[:2]
    fade = frame_opacity(x1 - x0, y1 - y0, (y0 > 0, y1 < height, x0 > 0, x1 < width))
    result = image.copy()
    window = result[y0:y1, x0:x1]
    window[:] = cv2.blendLinear(np.ascontiguousarray(window), square, 1 - fade, fade)
    return result


@lru_cache(maxsize=8)
def crop_opacity(size: int) -> NDArray[np.float32]:
    """(size, size) in 0..1 of an edited crop in its source, read-only."""
    edge = max(1, round(CROP_SHARE * size))
    mask = np.zeros((size, size), np.float32)
    mask[edge : size - edge, edge : size - edge] = 1
    return _blurred(mask, edge)


@lru_cache(maxsize=64)
def frame_opacity(width: int, height: int, fading: tuple[bool, bool, bool, bool]) -> NDArray[np.float32]:
    """(height, width) in 0..1 of a square in its frame, read-only.

    ``fading``: whether its top, bottom, left and right side fade; those at the picture's edge do not.
    """
    top, bottom, left, right = (FRINGE * side for side in fading)
    mask = np.zeros((height, width), np.float32)
    mask[top : height - bottom, left : width - right] = 1
    return _blurred(mask, FRINGE)


def _blurred(mask: NDArray[np.float32], edge: int) -> NDArray[np.float32]:
    box = (2 * edge + 1, 2 * edge + 1)
    opacity = np.clip(cv2.blur(cv2.blur(mask, box), box), 0, 1, dtype=np.float32)
    opacity.setflags(write=False)
    return opacity
