"""Landmark distance of the mouth to the truth."""

from __future__ import annotations

from common.face import lip_distance
from evaluation.metrics.base import Better, Metric, Values
from evaluation.take import Take

VERSION = 1


class LandmarkDistance:
    """The made mouth's 20 points against the true ones; left out where no truth is known."""

    fingerprint = f"lmd-{VERSION}"

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return (
            Metric(
                "lmd",
                "LMD",
                "px",
                Better.lower,
                "mean distance of the 20 mouth points to the truth's, both laid on the rigid upper face of a "
                "112 px ArcFace picture",
                "Chen et al. 2018 (Lip Movements Generation at a Glance); alignment as in X-Dub (arXiv "
                "2512.25066), section 4",
                "truth",
            ),
        )

    def __call__(self, take: Take) -> Values:
        if take.truth is None or len(take.truth) != len(take.made):
            return {}
        if not (take.made.present & take.truth.present).any():
            return {}
        return {"lmd": lip_distance(take.made.landmarks, take.truth.landmarks)}
