"""Colour correction of edited crops against their source (paper P / release R, docs/notation.md §6)."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from common.models.conventions import ColourRule

ColourMatch = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Edited and source frames (N, H, W, 3) uint8 -> edited frames in the source's colours."""

CHANGE_THRESHOLD = 0.07
"""A pixel counts as unchanged below this mean absolute difference, on the scale black 0 .. white 1 (R)."""

_MIN_SHARE = 0.02
_MIN_DEVIATION = 1.0  # in 8-bit steps; below it a standard deviation is mostly noise
_MAX_GAIN = 1.5
_FLAT_LAB = 1e-3  # in units of L, 0 to 100


def match_colours(edited: np.ndarray, source: np.ndarray, threshold: float = CHANGE_THRESHOLD) -> np.ndarray:
    """Give every edited frame the colour statistics of its source frame.

    Per frame and channel, mean and standard deviation are measured on the pixels that the edit left
    almost alone, and the whole frame is shifted and scaled so that they agree there. A drift of the video
    autoencoder is removed this way before it can add up over windows; what was edited on purpose does not
    take part in the measurement.

    The difference is the mean over the channels on the scale 0..1. Gap G: the release has no guards. Here
    frames of which less than 2 % is unchanged are returned as they are, the gain is kept within 1/1.5 .. 1.5,
    and it is 1 where the unchanged part is flat.

    Args:
        edited: (N, H, W, 3) uint8.
        source: (N, H, W, 3) uint8, the same moments before the edit.
        threshold: largest change of an "unchanged" pixel, 0..1.

    Returns:
        (N, H, W, 3) uint8.

    Raises:
        ValueError: the shapes differ.
    """
    _check_shapes(edited, source)
    corrected = np.empty_like(edited)
    for index, (after, before) in enumerate(zip(edited, source, strict=True)):
        corrected[index] = _match_frame(after.astype(np.float32), before.astype(np.float32), threshold)
    return corrected


def match_lab(edited: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Give every edited frame the mean and deviation of its source frame in CIELAB, over all pixels (TBDub).

    Shapes and errors as of :func:`match_colours`. A flat channel of the edit is moved, not scaled. The result
    is rounded to 8 bits, where the release truncates.
    """
    _check_shapes(edited, source)
    corrected = np.empty_like(edited)
    for index, pair in enumerate(zip(edited, source, strict=True)):
        have, want = (cv2.cvtColor(frame.astype(np.float32) / 255, cv2.COLOR_RGB2Lab) for frame in pair)
        have_std, want_std = have.std(axis=(0, 1)), want.std(axis=(0, 1))
        gain = np.where(have_std > _FLAT_LAB, want_std / np.maximum(have_std, _FLAT_LAB), 1.0)
        matched = (have - have.mean(axis=(0, 1))) * gain + want.mean(axis=(0, 1))
        image = cv2.cvtColor(matched.astype(np.float32), cv2.COLOR_Lab2RGB)
        corrected[index] = np.clip(np.rint(255 * image), 0, 255).astype(np.uint8)
    return corrected


COLOUR_RULES: dict[ColourRule, ColourMatch] = {
    ColourRule.unchanged: match_colours,
    ColourRule.lab: match_lab,
}


def _check_shapes(edited: np.ndarray, source: np.ndarray) -> None:
    if edited.shape != source.shape or edited.ndim != 4 or edited.shape[-1] != 3:
        raise ValueError(f"edited {edited.shape} and source {source.shape} must both be (N, H, W, 3)")


def _match_frame(edited: np.ndarray, source: np.ndarray, threshold: float) -> np.ndarray:
    unchanged = np.abs(edited - source).mean(axis=-1) < threshold * 255.0
    if unchanged.mean() < _MIN_SHARE:
        return edited.astype(np.uint8)
    have, want = edited[unchanged], source[unchanged]  # (pixels, 3)
    have_std, want_std = have.std(axis=0), want.std(axis=0)
    measurable = (have_std > _MIN_DEVIATION) & (want_std > _MIN_DEVIATION)
    gain = np.where(measurable, want_std / np.maximum(have_std, _MIN_DEVIATION), 1.0)
    gain = np.clip(gain, 1.0 / _MAX_GAIN, _MAX_GAIN)
    matched = (edited - have.mean(axis=0)) * gain + want.mean(axis=0)
    return np.clip(np.rint(matched), 0, 255).astype(np.uint8)
