"""Does the made mouth open and close when the mouth of the person whose speech it is does?"""

from __future__ import annotations

import numpy as np

from evaluation.dubbed_clip import Curve, DubbedClip
from evaluation.metrics.base import Better, Kind, Metric, Values
from evaluation.metrics.curves import FEWEST_FRAMES, LEAST_SPREAD, lagged_pearson

VERSION = 2
REACH = 5
# The largest of eleven chance correlations of short curves reaches this: below it a lag says nothing.
LEAST_R_FOR_LAG = 0.5
_KINDS = (Kind.cross, Kind.self, Kind.cycle)
_GROUP = "sync"


def agreement(made: Curve, driver: Curve) -> Values:
    """What two openings (N,) in eye-corner distances have in common; NaN frames are passed over.

    ``mouth_r``: at no shift. ``mouth_r_best``, ``mouth_lag``: the best within 5 frames either way and its
    shift, positive = the made mouth is late. ``mouth_gain``: ratio of the standard deviations, 0 for a mouth
    that never moves.
    """
    values: Values = {}
    count = min(len(made), len(driver))
    made, driver = made[:count], driver[:count]
    both = np.isfinite(made) & np.isfinite(driver)
    if both.sum() < FEWEST_FRAMES or driver[both].std() < LEAST_SPREAD:
        return values
    values["mouth_gain"] = float(made[both].std() / driver[both].std())
    r = lagged_pearson(made, driver, REACH)
    if np.isfinite(r[REACH]):
        values["mouth_r"] = float(r[REACH])
    if np.isfinite(r).any():
        best = int(np.nanargmax(r))
        values["mouth_r_best"] = float(r[best])
        if r[best] >= LEAST_R_FOR_LAG:
            values["mouth_lag"] = float(best - REACH)
    return values


class MouthCurve:
    """Nothing is measured where the driver was not filmed."""

    fingerprint = f"mouth_curve-{VERSION}"

    @property
    def metrics(self) -> tuple[Metric, ...]:
        ours = "ours: needs no judge network; "
        return (
            Metric(
                "mouth_r",
                "Mouth r",
                "",
                Better.higher,
                "Pearson's r of the made mouth's opening and the driver's, at no shift",
                ours + "the opening is what a viewer follows first",
                _GROUP,
                _KINDS,
            ),
            Metric(
                "mouth_r_best",
                "Mouth r, best shift",
                "",
                Better.higher,
                f"largest Pearson's r over shifts of up to {REACH} frames",
                ours + "tells wrong lips from late ones",
                _GROUP,
                _KINDS,
            ),
            Metric(
                "mouth_lag",
                "Mouth lag",
                "frames",
                Better.zero,
                f"shift of the largest r, positive = lips late; only where that r >= {LEAST_R_FOR_LAG}",
                ours + "a lag of lips that do not fit at any shift is chance",
                _GROUP,
                _KINDS,
            ),
            Metric(
                "mouth_gain",
                "Mouth gain",
                "",
                Better.one,
                "standard deviation of the made mouth's opening / of the driver's",
                ours + "a mouth that hardly moves can correlate",
                _GROUP,
                _KINDS,
            ),
        )

    def __call__(self, clip: DubbedClip) -> Values:
        if Kind(clip.kind) not in _KINDS or clip.driver_opening is None:
            return {}
        return agreement(clip.made.opening, clip.driver_opening)
