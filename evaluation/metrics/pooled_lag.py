"""Are the lips late or early, over all clips? One short clip cannot tell, many together can."""

from __future__ import annotations

import numpy as np

from evaluation.dubbed_clip import DubbedClip
from evaluation.metrics.base import Better, Features, Kind, Metric, Values
from evaluation.metrics.curves import lagged_pearson
from evaluation.metrics.mouth_curve import REACH

FEWEST_CLIPS = 3
SURE = 3.0
"""Standard errors by which the largest mean r must exceed 0: the largest of eleven is never far below it."""


class PooledLag:
    """The shift at which the mean correlation of many clips is largest."""

    fingerprint = "pooled_lag-1"

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return (
            Metric(
                "mouth_lag_pooled",
                "Mouth lag, all clips",
                "frames",
                Better.zero,
                f"shift of the largest mean over clips of r at that shift, up to {REACH} frames, "
                f"positive = lips late; only where that mean is {SURE:g} standard errors above 0",
                "ours: clips of a second are too short to be told one by one",
                "sync",
                (Kind.cross,),
            ),
        )

    def features(self, clip: DubbedClip) -> Features:
        """``r``: (11,) correlations at shifts of -5 to 5 frames."""
        if Kind(clip.kind) not in self.metrics[0].kinds or clip.driver_opening is None:
            return {}
        r = lagged_pearson(clip.made.opening, clip.driver_opening, REACH)
        return {"r": r} if np.isfinite(r).all() else {}

    def pool(self, clips: list[Features]) -> Values:
        rows = np.array([clip["r"] for clip in clips if clip])
        if len(rows) < FEWEST_CLIPS:
            return {}
        mean = rows.mean(axis=0)
        best = int(mean.argmax())
        error = rows[:, best].std(ddof=1) / np.sqrt(len(rows))
        return {"mouth_lag_pooled": float(best - REACH)} if mean[best] > SURE * error else {}
