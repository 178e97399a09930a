"""Giving back the detail that an edit has lost on its way through the crop and the autoencoder.

A face of 300 pixels passes through a crop of 128 and comes back soft, lips most visibly. It is sharpened
until the lower face is as sharp as the source's is in the frame, and not at all where it is so already: a
strong guidance makes sharp edits, and more of it would make specks of them. (EdiDub section 3.2 has a
diffusion model for the enlarged lips; this costs a blur per frame.)
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

MOST = 2.5
"""Times what a blur takes away; more makes outlines of noise."""

_SIGMA = 1.0  # pixels of the crop: the finest octave that it can hold
_MEMORY = 0.8  # of the strength from one measurement to the next: a strength that jumps flickers
_EVERY = 5  # frames from one measurement to the next
# The lower middle of the square, where mouths are: top, bottom, left, right.
_REGION = (0.5, 0.95, 0.25, 0.75)
_GRAIN = 1.0  # pixels of the frame; what is finer is noise and coding
_LEAST = 16  # pixels; a smaller square says nothing


class DetailMatch:
    """Sharpens the edits of one run of frames, in order, to what their sources have."""

    def __init__(self) -> None:
        self._strength: float | None = None
        self._seen = 0

    def __call__(self, source: Callable[[], tuple[np.ndarray, int]], edited: np.ndarray) -> np.ndarray:
        """The next frame's edit, sharpened.

        Args:
            source: where it is asked, gives the :func:`lower_middle` of the frame's square in its own
                pixels, uint8, and that square's side.
            edited: (S, S, 3) uint8.

        Returns:
            (S, S, 3) uint8.
        """
        if self._seen % _EVERY == 0:
            now = matching_strength(*source(), edited)
            last = now if self._strength is None else self._strength
            self._strength = _MEMORY * last + (1 - _MEMORY) * now
        self._seen += 1
        assert self._strength is not None
        return np.clip(np.rint(sharpened(edited, self._strength)), 0, 255).astype(np.uint8)


def sharpened(crop: np.ndarray, strength: float) -> np.ndarray:
    """An unsharp mask of (S, S, 3) or (S, S): float32, plus ``strength`` times what a blur takes away."""
    values = crop.astype(np.float32)
    return np.asarray(values + strength * (values - cv2.GaussianBlur(values, (0, 0), _SIGMA)), np.float32)


def matching_strength(middle: np.ndarray, side: int, crop: np.ndarray) -> float:
    """Strength, 0 to :data:`MOST`, that makes a crop (S, S, 3) as sharp as its square in the frame, which has
    ``side`` pixels and this :func:`lower_middle`.

    Both are compared in the frame's pixels, by the variance of the Laplacian, which of x + a d is quadratic
    in a; d is what the mask adds.
    """
    if side < _LEAST:
        return 0.0
    luma = _luma(crop)
    base = _laplacian(_shown(luma, side))
    added = _laplacian(_shown(sharpened(luma, 1.0), side)) - base
    missing = float(_laplacian(_luma(middle)).var() - base.var())
    linear, square = float(np.cov(base.ravel(), added.ravel())[0, 1]), float(added.var())
    if missing <= 0 or square <= 0:
        return 0.0
    return float(min(MOST, (np.sqrt(linear**2 + square * missing) - linear) / square))


def _shown(crop: np.ndarray, side: int) -> np.ndarray:
    kind = cv2.INTER_AREA if side < len(crop) else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(crop, (side, side), interpolation=kind))[lower_middle(side)]


def lower_middle(side: int) -> tuple[slice, slice]:
    """Rows and columns of a square where mouths are: all that is compared."""
    top, bottom, left, right = (int(share * side) for share in _REGION)
    return slice(top, bottom), slice(left, right)


def _luma(image: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.cvtColor(image.astype(np.float32), cv2.COLOR_RGB2GRAY), np.float32)


def _laplacian(luma: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.Laplacian(cv2.GaussianBlur(luma, (0, 0), _GRAIN), cv2.CV_32F), np.float32)
