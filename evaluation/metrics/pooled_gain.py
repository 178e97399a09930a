"""Do the lips move as far as they should, over all clips?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evaluation.dubbed_clip import DubbedClip
from evaluation.metrics.base import Better, Features, Kind, Metric, Values
from evaluation.metrics.curves import FEWEST_FRAMES, LEAST_SPREAD

FEWEST_CLIPS = 3
LEVEL = 0.95
_RESAMPLES = 2000
_KINDS = (Kind.cross,)
_GROUP = "sync"


class PooledGain:
    """Ratio of pooled standard deviations of the made openings and the driver's.

    The mean over clips of ``mouth_gain`` is that of a ratio whose denominator may be nearly 0: of clips of a
    second one whose driver keeps his lips shut decides it. Pooled, each clip counts by how far it moves.
    """

    fingerprint = "pooled_gain-1"

    @property
    def metrics(self) -> tuple[Metric, ...]:
        ends = (("low", "2.5th"), ("high", "97.5th"))
        return (
            Metric(
                "mouth_gain_pooled",
                "Mouth gain, all clips",
                "",
                Better.one,
                "sqrt(sum over clips of n Var(made opening) / sum of n Var(driver's)); n: frames known",
                "ours: a mean of ratios is decided by the clips whose driver hardly moves",
                _GROUP,
                _KINDS,
            ),
            *(
                Metric(
                    f"mouth_gain_{name}",
                    f"Mouth gain, {name}",
                    "",
                    Better.none,
                    f"{percentile} percentile of mouth_gain_pooled over clips drawn with replacement",
                    "percentile bootstrap, 2000 draws",
                    _GROUP,
                    _KINDS,
                )
                for name, percentile in ends
            ),
        )

    def features(self, clip: DubbedClip) -> Features:
        """``spread``: (3,) n Var of the made opening, n Var of the driver's, and n."""
        if Kind(clip.kind) not in _KINDS or clip.driver_opening is None:
            return {}
        count = min(len(clip.made.opening), len(clip.driver_opening))
        both = np.stack([clip.made.opening[:count], clip.driver_opening[:count]])
        both = both[:, np.isfinite(both).all(axis=0)]
        frames = both.shape[1]
        return {"spread": frames * np.append(both.var(axis=1), 1.0)} if frames >= FEWEST_FRAMES else {}

    def pool(self, clips: list[Features]) -> Values:
        # Sorted: the same clips in another order give the same interval.
        spreads = np.array(sorted(tuple(clip["spread"]) for clip in clips if clip))
        if len(spreads) < FEWEST_CLIPS:
            return {}
        _, driver, frames = spreads.sum(axis=0)
        if np.sqrt(driver / frames) < LEAST_SPREAD:
            return {}
        drawn = np.random.default_rng(0).integers(len(spreads), size=(_RESAMPLES, len(spreads)))
        tail = 100 * (1 - LEVEL) / 2
        low, high = np.percentile(_gain(spreads[drawn]), [tail, 100 - tail])
        return {
            "mouth_gain_pooled": float(_gain(spreads)),
            "mouth_gain_low": float(low),
            "mouth_gain_high": float(high),
        }


def _gain(spreads: NDArray[np.float64]) -> NDArray[np.float64]:
    """(...,) of spreads (..., clips, 3)."""
    made, driver, _ = np.moveaxis(spreads.sum(axis=-2), -1, 0)
    return np.asarray(np.sqrt(made / np.maximum(driver, np.finfo(float).tiny)))
