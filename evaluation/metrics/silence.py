"""Under silence lips should be closed."""

from __future__ import annotations

import numpy as np

from evaluation.dubbed_clip import Curve, DubbedClip
from evaluation.metrics.base import Better, Kind, Metric, Values
from evaluation.metrics.curves import FEWEST_FRAMES

VERSION = 1

CLOSED = 0.02
"""Eye-corner distances: a smaller opening counts as closed lips.

Found by looking, since a detector's opening of closed lips is not 0. MediaPipe's, in 101 pictures of 31 clips
of real people: lips were closed in 33 of 36 below .01, 16 of 24 between .01 and .02, 11 of 23 between .02 and
.03, 5 of 18 between .03 and .04. On 47 drawn characters, whose true mouths are known, 98 % of the 510 frames
with closed lips (true opening below .005) lie below it, and 12 % of those with a true opening above .03.
"""


def closed_lips(opening: Curve) -> Values:
    """``silence_closed``: share of frames with an opening (N,) below :data:`CLOSED`;
    ``silence_opening``: the mean opening in eye-corner distances. NaN frames are passed over."""
    seen = opening[np.isfinite(opening)]
    if len(seen) < FEWEST_FRAMES:
        return {}
    return {"silence_closed": float((seen < CLOSED).mean()), "silence_opening": float(seen.mean())}


class Silence:
    """Of rows without any sound."""

    fingerprint = f"silence-{VERSION}"

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return (
            Metric(
                "silence_closed",
                "Closed in silence",
                "",
                Better.higher,
                f"share of frames whose mouth opening is below {CLOSED} eye-corner distances",
                "after KeySync (arXiv 2505.00497), whose LipLeak is the share of the other frames; the "
                "measure of the mouth and its threshold are ours",
                "leak",
                (Kind.silence,),
            ),
            Metric(
                "silence_opening",
                "Opening in silence",
                "eye distances",
                Better.lower,
                "mean mouth opening in outer eye-corner distances",
                "ours: has no threshold",
                "leak",
                (Kind.silence,),
            ),
        )

    def __call__(self, clip: DubbedClip) -> Values:
        return closed_lips(clip.made.opening) if Kind(clip.kind) is Kind.silence else {}
