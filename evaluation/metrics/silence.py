"""Under silence lips should be closed."""

from __future__ import annotations

import numpy as np

from evaluation.dubbed_clip import Curve, DubbedClip
from evaluation.metrics.base import Better, Kind, Metric, Values
from evaluation.metrics.curves import FEWEST_FRAMES

VERSION = 2

CLOSED = 0.02
"""Eye-corner distances: a smaller opening counts as closed lips.

Found by looking, since a detector's opening of closed lips is not 0. MediaPipe's, in 101 pictures of 31 clips
of real people: lips were closed in 33 of 36 below .01, 16 of 24 between .01 and .02, 11 of 23 between .02 and
.03, 5 of 18 between .03 and .04. On 47 drawn characters, whose true mouths are known, 98 % of the 510 frames
with closed lips (true opening below .005) lie below it, and 12 % of those with a true opening above .03.
"""


UNSURE = 2 * CLOSED
"""Up to here a reading may be that of closed lips: a detector that takes the edge of a moustache for the
upper lip never reads less of some people."""

_MOST_CLOSED = 5  # percentile of a film's openings


def closed_below(film: Curve) -> float:
    """The opening below which the lips of the person that a film (N,) shows count as closed.

    :data:`CLOSED`, or what the detector reads of the film where it is most closed (5th percentile), if that
    is more; :data:`UNSURE` at most, since the film may never show closed lips.
    """
    seen = film[np.isfinite(film)]
    return float(np.clip(np.percentile(seen, _MOST_CLOSED), CLOSED, UNSURE)) if len(seen) else CLOSED


def closed_lips(opening: Curve, film: Curve) -> Values:
    """``silence_closed``: share of frames with an opening (N,) up to :func:`closed_below` of the ``film``,
    the source; ``silence_opening``: the mean opening in eye-corner distances. NaN frames are passed over."""
    seen = opening[np.isfinite(opening)]
    if len(seen) < FEWEST_FRAMES:
        return {}
    closed = float((seen <= closed_below(film)).mean())
    return {"silence_closed": closed, "silence_opening": float(seen.mean())}


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
                f"share of frames whose mouth opening is at most {CLOSED} eye-corner distances, or the 5th "
                f"percentile of the source's where that is more, but never above {UNSURE:g}",
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
        if Kind(clip.kind) is not Kind.silence:
            return {}
        return closed_lips(clip.made.opening, clip.source.opening)
