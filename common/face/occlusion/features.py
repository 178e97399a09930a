"""Colours and edges of small pictures, and how far they differ; how well lips are seen."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from common.face.occlusion.picture import Flags, LowerFaceView
from common.face.types import FloatArray, ImageArray

UPPER_ROWS = slice(0, 9)
"""Rows of the small picture that show nose and upper cheeks."""

# Rows whose colour is the face's own: cheeks and nose, which little covers and which do not speak.
_SKIN_ROWS = slice(1, 13)
_DARKEST = 12.0
# The light changes by at most this factor within a clip; more is something before the cheeks.
_LIGHT = 1.5
# Unit of distance, in parts of the colour of the skin: brightness, two colours, slopes of the brightness.
_FLOOR = np.array([0.11, 0.05, 0.05, 0.06, 0.06], np.float32)
# A pixel differs from the third likest of the free pictures: one that is not free does no harm.
_LIKEST = 2
# Lips are lost where both their redness and their lines are less than these shares of what they are in the
# core (where that is redness at all), where there are hardly any lines, or where they are less red than the
# skin by so much, and than the lips of the core.
_LESS_RED, _LESS_LINED, _LEAST_RED = 0.35, 0.7, 0.3
_BLANK = 0.35
_PALE, _PALER = -0.5, 1.2
# Or they are redder than the lips of the core by so much: in 75 films without a thing the reddest lips are
# redder by 1.0 at most.
_STAINED = 1.5
# Colours that differ from the skin's by so much count as none of it.
_NO_SKIN = 4.0


def skin_colour(small: ImageArray, inside: Flags) -> FloatArray:
    """(3,) median colour of cheeks and nose."""
    seen = small[_SKIN_ROWS][inside[_SKIN_ROWS]]
    colour = np.median(seen if len(seen) else small.reshape(-1, 3), axis=0)
    return np.maximum(colour, _DARKEST).astype(np.float32)


def skin_in_light(own: FloatArray, usual: FloatArray) -> FloatArray:
    """A frame's colour of the skin, as far as a change of light explains it."""
    return np.clip(own, usual / _LIGHT, usual * _LIGHT).astype(np.float32)


def _opponent(small: ImageArray, skin: FloatArray) -> FloatArray:
    """(HEIGHT, WIDTH, 3): brightness and two differences of colour, in which the light cancels.

    With r, g, b = RGB / skin: (r + 2 g + b) / 4, r - g and b - g; skin itself is 1, 0, 0.
    """
    r, g, b = np.moveaxis(small.astype(np.float32) / skin, -1, 0)
    return np.stack([(r + 2 * g + b) / 4, r - g, b - g], axis=-1)


def features_of(small: ImageArray, skin: FloatArray) -> FloatArray:
    """(HEIGHT, WIDTH, 5): colours of :func:`_opponent` and the slopes of the brightness, in floors."""
    colours = _opponent(small, skin)
    bright = cv2.GaussianBlur(np.ascontiguousarray(colours[..., 0]), (3, 3), 0.6)
    slopes = [cv2.Sobel(bright, cv2.CV_32F, dx, 1 - dx, ksize=3, scale=0.25) for dx in (1, 0)]
    return np.asarray(np.concatenate([colours, np.stack(slopes, axis=-1)], axis=-1) / _FLOOR, np.float32)


def ranges(features: Sequence[FloatArray]) -> tuple[FloatArray, FloatArray]:
    """(N, HEIGHT, WIDTH, 5) twice: least and largest about every pixel, which forgives a displacement."""
    square = np.ones((3, 3), np.uint8)
    low, high = ([change(f, square) for f in features] for change in (cv2.erode, cv2.dilate))
    return np.asarray(low, np.float32), np.asarray(high, np.float32)


def squares_to(features: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """(HEIGHT, WIDTH, R): how far the surroundings of every pixel are from those in R pictures, squared."""
    beyond = features - high
    np.maximum(beyond, low - features, out=beyond)
    np.maximum(beyond, 0, out=beyond)
    squares = np.einsum("rhwc,rhwc->hwr", beyond, beyond)
    return np.asarray(cv2.blur(squares, (3, 3)).reshape(squares.shape), np.float32)


def likest(squares: FloatArray) -> FloatArray:
    """(HEIGHT, WIDTH) distances to the third likest, of the squares (HEIGHT, WIDTH, R)."""
    which = min(_LIKEST, squares.shape[-1] - 1)
    third = np.partition(squares, which, axis=-1)[..., which]
    return np.asarray(np.sqrt(np.maximum(third, 0)), np.float32)  # running sums may fall below 0 by rounding


def lip_measures(features: FloatArray, view: LowerFaceView) -> FloatArray:
    """(2,) how much redder than the cheeks the place of the lips is, and how strong its level lines are.

    Both are 0 where the place of the lips cannot be told apart from the cheeks'.
    """
    lips, cheeks = view.inside & ~view.cheeks, view.cheeks.copy()
    cheeks[: UPPER_ROWS.stop + 1] = False
    if not lips.any() or not cheeks.any():
        return np.zeros(2, np.float32)
    red = features[..., 1]
    lines = np.abs(features[..., 4])[lips].mean()
    return np.array([red[lips].mean() - np.median(red[cheeks]), lines], np.float32)


def lips_lost(lips: FloatArray, usual: FloatArray) -> Flags:
    """(...) whether lips (..., 2) are not seen, given those (2,) that are seen well."""
    faint = (lips < usual * np.array([_LESS_RED, _LESS_LINED])).all(axis=-1)
    pale = (lips[..., 0] < _PALE) & (lips[..., 0] < usual[0] - _PALER)
    blank = lips[..., 1] < _BLANK * usual[1]
    stained = lips[..., 0] > usual[0] + _STAINED
    return np.asarray(((usual[0] > _LEAST_RED) & faint) | pale | blank | stained, bool)


def skin_shown(features: FloatArray, view: LowerFaceView) -> float:
    """How far cheeks and chin have the colours of skin: less their mean difference from it, at most 4."""
    colours = features[..., 1:3][view.cheeks]
    return -float(np.minimum(np.linalg.norm(colours, axis=1), _NO_SKIN).mean()) if len(colours) else -_NO_SKIN
