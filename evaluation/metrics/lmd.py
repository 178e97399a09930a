"""Landmark distance of the mouth to the truth."""

from __future__ import annotations

from common.face import lip_distance
from evaluation.dubbed_clip import DubbedClip
from evaluation.metrics.base import Better, Metric, Values

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

    def __call__(self, clip: DubbedClip) -> Values:
        if clip.truth is None or len(clip.truth) != len(clip.made):
            return {}
        if not (clip.made.present & clip.truth.present).any():
            return {}
        return {"lmd": lip_distance(clip.made.landmarks, clip.truth.landmarks)}
