"""Mouth aspect ratio and how much it varies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from common.face.layout import INNER_LIP_PAIRS
from evaluation.dubbed_clip import Curve, DubbedClip
from evaluation.metrics.base import Better, Kind, Metric, Values
from evaluation.metrics.curves import FEWEST_FRAMES

VERSION = 1
INNER_LIP_CORNERS = (60, 64)


def mouth_aspect_ratio(landmarks: NDArray[np.floating]) -> Curve:
    """Height over width of the inner lips, (N,) for (N, 68, 2 or 3) landmarks in pixels.

    The mean of |61-67|, |62-66| and |63-65| over |60-64|: the eye aspect ratio of Soukupová & Čech 2016
    carried over to the inner lip, which has three vertical pairs. NaN rows give NaN, and so does a mouth
    without width.
    """
    points = np.asarray(landmarks[..., :2], np.float64)
    upper, lower = (list(side) for side in zip(*INNER_LIP_PAIRS, strict=True))
    height = np.linalg.norm(points[:, upper] - points[:, lower], axis=-1).mean(axis=1)
    left, right = INNER_LIP_CORNERS
    width = np.linalg.norm(points[:, left] - points[:, right], axis=-1)
    return np.divide(height, width, out=np.full(len(points), np.nan), where=width > 0)


class MouthAspectRatio:
    """How many shapes the mouth takes; a mouth that hardly moves has little, whatever it says."""

    fingerprint = f"mar-{VERSION}"

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return (
            Metric(
                "mar_div",
                "MAR Div.",
                "",
                Better.higher,
                "standard deviation over frames of (|61-67| + |62-66| + |63-65|) / (3 |60-64|)",
                "JUST-DUB-IT (2026) after Soukupová & Čech 2016; that its diversity is the "
                "standard deviation over a clip's frames, of the inner lips, is our reading",
                "sync",
                (Kind.cross, Kind.self, Kind.cycle),
            ),
        )

    def __call__(self, clip: DubbedClip) -> Values:
        ratio = mouth_aspect_ratio(clip.made.landmarks)
        ratio = ratio[np.isfinite(ratio)]
        if clip.kind == Kind.silence.value or len(ratio) < FEWEST_FRAMES:
            return {}
        return {"mar_div": float(ratio.std())}
