"""There and back: a video dubbed with other speech, and the result dubbed with the video's own."""

from __future__ import annotations

import numpy as np

from common.face import lip_distance
from evaluation.dubbed_clip import DubbedClip, Footage, Frames, Mask
from evaluation.metrics.base import Better, Kind, Metric, Values
from evaluation.metrics.quality import visible_regions

# A first dub nearer than this has not left the source: grey levels, and pixels of a 112-pixel aligned face.
_LEAST_RMSE = 1.0
_LEAST_LIPS = 0.25


def region_rmse(a: Frames, b: Frames, region: Mask) -> float | None:
    """Root mean squared difference (grey levels) of clips (N, S, S, 3) inside (N, S, S); None if empty."""
    if not region.any():
        return None
    difference = a[region].astype(np.float32) - b[region]
    return float(np.sqrt(np.mean(difference * difference, dtype=np.float64)))


def _lips(a: Footage, b: Footage) -> float | None:
    both = a.present & b.present
    return lip_distance(a.landmarks[both], b.landmarks[both]) if both.any() else None


def way_back(back: float | None, there: float | None, least: float) -> float | None:
    """``back / there``; None where either is unknown or there was no way (``there`` below ``least``)."""
    return None if back is None or there is None or there < least else back / there


class Cycle:
    """``cycle_mouth`` and ``cycle_lips``, of cycle rows: what is left of the way to the first dub.

    0: the source came back. 1: the result is no nearer to the source than the first dub was. Lips that
    ignore the speech and repeat their input get 1 where the first dub moved at all. A system that copies its
    input gets 0 / 0, which says nothing, and is left out: its first dub is the source (nearer than one grey
    level, or than a quarter of a pixel of an aligned face).
    """

    metrics = (
        Metric(
            key="cycle_mouth",
            title="Cycle mouth",
            unit="",
            better=Better.zero,
            formula="RMSE(made, source) / RMSE(first dub, source) in the mouth",
            source="ours, after cycle consistency (Zhu et al. 2017): who follows the speech comes back",
            group="truth",
            kinds=(Kind.cycle,),
        ),
        Metric(
            key="cycle_lips",
            title="Cycle lips",
            unit="",
            better=Better.zero,
            formula="d(made, source) / d(first dub, source); d: mean distance of aligned mouth points",
            source="ours, as above; the distance is X-Dub's lip-change filter (section 4)",
            group="truth",
            kinds=(Kind.cycle,),
        ),
    )
    fingerprint = "cycle-1"

    def __call__(self, clip: DubbedClip) -> Values:
        if clip.kind != Kind.cycle.value or clip.first_dub is None:
            return {}
        mouth = visible_regions(clip)["mouth"]
        pixels = [region_rmse(x.crops, clip.source.crops, mouth) for x in (clip.made, clip.first_dub)]
        lips = [_lips(x, clip.source) for x in (clip.made, clip.first_dub)]
        values: Values = {}
        for key, (back, there), least in (
            ("cycle_mouth", pixels, _LEAST_RMSE),
            ("cycle_lips", lips, _LEAST_LIPS),
        ):
            ratio = way_back(back, there, least)
            if ratio is not None:
                values[key] = ratio
        return values
