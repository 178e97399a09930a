"""Whether the mouth is as sharp as it was."""

from __future__ import annotations

import numpy as np

from evaluation.dubbed_clip import Curve, DubbedClip
from evaluation.metrics.base import Better, Metric, Values
from evaluation.native import SHARPNESS, VERSION

# A source below this has nothing in its mouth that could be sharp: a ratio to it would be noise.
_LEAST = 0.05


def sharpness_ratio(made: Curve, source: Curve) -> float | None:
    """Median over frames of the made's sharpness over the source's.

    Medians, and not the mean of ratios of frames: the two mouths say different things, and teeth that
    only one of them shows are no sign of blur.

    Args:
        made, source: (N,) Laplacian variances (:func:`evaluation.native.mouth_sharpness`); NaN where unknown.

    Returns:
        1 for equal sharpness; None where no frame has both, or the source is flat.
    """
    both = np.isfinite(made) & np.isfinite(source)
    if not both.any():
        return None
    below = float(np.median(source[both]))
    return float(np.median(made[both])) / below if below >= _LEAST else None


class Sharpness:
    """``sharpness_mouth``: Laplacian variance of the mouth to the source's, at the video's own size.

    Needs ``native["sharpness"]`` of source and made, else it is left out.
    """

    metrics = (
        Metric(
            key="sharpness_mouth",
            title="Sharpness",
            unit="",
            better=Better.one,
            formula="median_t V(made_t) / median_t V(source_t); V: variance of the Laplacian around the lips",
            source="Pech-Pacheco et al. 2000 (LAPV), blurred by 1 px so that grain does not count",
            group="looks",
        ),
    )
    fingerprint = f"sharpness-1 {VERSION}"

    def __call__(self, clip: DubbedClip) -> Values:
        curves = [footage.native.get(SHARPNESS) for footage in (clip.made, clip.source)]
        if curves[0] is None or curves[1] is None:
            return {}
        ratio = sharpness_ratio(curves[0], curves[1])
        return {} if ratio is None else {"sharpness_mouth": ratio}
