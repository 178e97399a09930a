"""From speech to the lip shapes of frames."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, grey_opening

from common.face.mouth import LIP_GAPS, LIP_SHAPE, LIP_SHAPE_UNIT
from common.own_mouths.goal import WITH_GAP, filmed_gap

Array = NDArray[np.float64]

FEATURE_RATE = 50.0
"""Predicted shapes per second."""
FRAME_SECONDS = 0.04
"""A predicted shape is that of a frame's middle at 25 frames per second."""

# The range of a mouth, by quantiles that no odd frame moves. Lips of people who speak are closed in a quarter
# of the frames; predicted ones, which are means over what lips may do, come near to it in fewer.
_LOW, _HIGH = 0.08, 0.95
# Predicted gaps are smoothed likewise: what is faster than this spread is made larger by a share of it.
_SHARPER, _SHARPER_SECONDS = 0.4, 0.05
# In silence a mouth that a detector sees open even when it is closed (a moustache) is closed by so much more.
_MOST_PRESS = 0.4
# Silence: the gap at which it fades, and the frames that it lasts at least.
_SILENT_GAP, _SILENT_FRAMES = 0.4, 9
# How far predicted gaps and movements are stretched towards what the clip's own mouth does.
_GAP_GAIN = (0.7, 1.2)
_MOVE_GAIN = (0.6, 1.6)
# A mouth whose gap spreads over less than this, in units of lip shape, is not one that speaks.
_SPEAKS = 0.6
# What a gap goes beyond what film can fill is drawn, and looks it: so much of it is left.
_BEYOND_FILM = 0.5


def wanted_shapes(features: NDArray[np.floating], times: Array, lead_frames: float = 0.0) -> Array:
    """Lip shapes at the times of frames.

    Args:
        features: (T, 7 or more) of :class:`common.lip_shapes.encoder.LipEncoder`, the first 7 lip shapes.
        times: (N,) seconds of the frames' starts on the clock of the speech.
        lead_frames: how much earlier the lips move, in frames of 40 ms.

    Returns:
        (N, 7): interpolated linearly at the middle of the 40 ms that begin with the frame; the values that
        are no gaps less their mean over the speech.
    """
    shapes = np.asarray(features[:, : len(LIP_SHAPE)], np.float64).copy()
    shapes[:, LIP_GAPS:] -= shapes[:, LIP_GAPS:].mean(axis=0)
    at = (np.asarray(times) + FRAME_SECONDS * (0.5 + lead_frames)) * FEATURE_RATE - 0.5
    known = np.arange(len(shapes))
    return np.stack([np.interp(at, known, column) for column in shapes.T], axis=1)


def sharpened(features: NDArray[np.floating]) -> NDArray[np.floating]:
    """Predicted lip shapes with gaps that open and close as briefly as lips do.

    g + 0.4 (g - g * Gaussian of 50 ms): a predictor gives the mean of all that lips may do with a sound, at
    times that differ by some frames, so that brief closures come out shallow.

    Args:
        features: (T, 7 or more) at 50 Hz, as :func:`wanted_shapes` takes them.
    """
    result = np.array(features)
    gaps = result[:, :LIP_GAPS]
    blurred = gaussian_filter1d(gaps, _SHARPER_SECONDS * FEATURE_RATE, axis=0, mode="nearest")
    result[:, :LIP_GAPS] = gaps + _SHARPER * (gaps - blurred)
    return result


def closedness(gap: Array) -> Array:
    """exp(-gap / 0.4) of gaps (N,) in units of lip shape: 1 for closed lips."""
    return np.exp(-np.maximum(gap, 0) / _SILENT_GAP)


def silence(gap: Array) -> Array:
    """(N,) 0 to 1: how far a gap (N,), in units of lip shape, is that of somebody who says nothing.

    :func:`closedness`, opened (in the sense of morphology) over 9 frames: lips that close for a p are not
    silent.
    """
    closed = closedness(gap)
    return np.asarray(grey_opening(closed, size=min(_SILENT_FRAMES, len(closed))))


def calibrated(wanted: Array, shown: Array, painted: bool = False) -> Array:
    """Predicted shapes in the range of a clip's own mouth.

    Gaps: the low quantile (8 %) of the speech goes to 0, closed lips; the spread from it to the high one
    (95 %) is multiplied by the square root of the ratio of the clip's and the speech's, held to 0.7 to 1.2:
    half of what the speaker does, half of what is usual. A mouth that hardly opens in the clip (spread below
    0.6) says nothing of how its owner speaks: the less it does, the nearer is the factor to 1. In silence
    lips are closed by what the clip's own low quantile is above 0. Where the mean gap is wider than the
    widest filmed mouth can be opened (:func:`common.own_mouths.goal.filmed_gap`), half of the rest is left
    out. Other values: the ratio of standard deviations, held to 0.6 to 1.6, about the clip's mean and what
    goes with gaps that are wider, or less wide, than the clip's (:data:`common.own_mouths.goal.WITH_GAP`).

    Args:
        wanted: (N, 7) predicted. shown: (M, 7) measured.
        painted: what film cannot fill looks like film: nothing is left out.
    """
    result = wanted.copy()
    for column in range(LIP_GAPS):
        said, own = wanted[:, column], shown[:, column]
        (low, high), (own_low, own_high) = (np.quantile(x, [_LOW, _HIGH]) for x in (said, own))
        spread = max(own_high - own_low, 0.0)
        gain = np.clip(np.sqrt(spread / max(high - low, 1e-3)), *_GAP_GAIN)
        gain = 1 + (gain - 1) * min(1.0, spread / _SPEAKS)
        open_by = np.maximum((said - low) * gain, 0)
        result[:, column] = open_by - np.clip(own_low, 0, _MOST_PRESS) * silence(open_by)
    gaps = result[:, :LIP_GAPS]
    if not painted:
        gaps *= _within_film(gaps, shown)[:, None]
    opened = WITH_GAP * (gaps.mean() - shown[:, :LIP_GAPS].mean())
    for column in range(LIP_GAPS, wanted.shape[1]):
        said, own = wanted[:, column], shown[:, column]
        gain = np.clip(own.std() / max(said.std(), 1e-3), *_MOVE_GAIN)
        result[:, column] = (said - said.mean()) * gain + own.mean() + opened[column - LIP_GAPS]
    return result


def _within_film(gaps: Array, shown: Array) -> Array:
    """(N,) factors of gaps (N, 3) that leave out a part of what film cannot fill."""
    filmed = filmed_gap(float(shown[:, :LIP_GAPS].mean(axis=1).max()) * LIP_SHAPE_UNIT) / LIP_SHAPE_UNIT
    beyond = np.maximum(gaps.mean(axis=1) - filmed, 0)
    return 1 - _BEYOND_FILM * beyond / np.maximum(filmed + beyond, 1e-3)
