"""Do the made lips meet where the lips of the person whose speech it is meet for a moment?"""

from __future__ import annotations

import numpy as np

from evaluation.dubbed_clip import Curve, DubbedClip
from evaluation.metrics.base import Better, Kind, Metric, Values
from evaluation.metrics.silence import CLOSED, UNSURE

VERSION = 1

OPEN = UNSURE
"""Eye-corner distances: from here on lips count as open. Openings of .02 to .04 are sometimes closed lips
(see :data:`CLOSED`), and a pause in which the detector wavers around .02 holds no consonant."""

LONGEST = 6
"""Frames: p, b and m last .05 to .15 s, slow ones .24 s; longer is a pause."""

REACH = 6
"""Frames before and after a closure in which the lips must be open at some point."""

BESIDE = 1
"""Frames that the made lips may close too early or too late."""

FEWEST_CLOSURES = 2
_KINDS = (Kind.cross, Kind.self, Kind.cycle)


def brief_closures(opening: Curve) -> list[slice]:
    """The frames of each brief closure of the lips: runs of 1 to 6 frames with an opening below .02.

    The frames right before and after a run must be known, or it might be longer than it looks, and among the
    six before it and among the six after it one must have an opening of .04 or more: otherwise it belongs to
    a pause, or to the beginning or the end of the speech.

    Args:
        opening: (N,) in eye-corner distances, NaN where unknown.
    """
    shut = np.concatenate([[False], opening < CLOSED, [False]])
    turns = np.flatnonzero(shut[1:] != shut[:-1])
    found = []
    for first, last in zip(turns[::2], turns[1::2], strict=True):
        before, after = opening[max(0, first - REACH) : first], opening[last : last + REACH]
        whole = len(before) > 0 and len(after) > 0 and np.isfinite([before[-1], after[0]]).all()
        if last - first <= LONGEST and whole and (before >= OPEN).any() and (after >= OPEN).any():
            found.append(slice(int(first), int(last)))
    return found


def closing(made: Curve, driver: Curve) -> Values:
    """Made against driven lips (N,), in eye-corner distances, at the driver's brief closures.

    ``bilabial_closed``: share of closures in which the smallest made opening from one frame before to one
    frame after the closure is below .02. ``bilabial_gap``: mean over closures of that opening less the
    driver's smallest. Closures in which the made mouth is never seen are passed over; empty with fewer than
    two left.
    """
    count = min(len(made), len(driver))
    made, driver = made[:count], driver[:count]
    least, wanted = [], []
    for closure in brief_closures(driver):
        window = made[max(0, closure.start - BESIDE) : closure.stop + BESIDE]
        if np.isfinite(window).any():
            least.append(np.nanmin(window))
            wanted.append(driver[closure].min())
    if len(least) < FEWEST_CLOSURES:
        return {}
    smallest = np.array(least)
    return {
        "bilabial_closed": float((smallest < CLOSED).mean()),
        "bilabial_gap": float((smallest - wanted).mean()),
    }


class Bilabials:
    """The film-based stand-in for p, b and m where their times are not known.

    No phoneme times are read: a brief closure of the filmed driver's lips is taken for one of these sounds.
    A p that the detector sees slightly open is missed, and lips that meet for a moment between two words
    count. Nothing is measured where the driver was not filmed.
    """

    fingerprint = f"bilabials-{VERSION}"
    metrics = (
        Metric(
            "bilabial_closed",
            "Closed at p, b, m",
            "",
            Better.higher,
            f"share of the driver's brief closures (1 to {LONGEST} frames below {CLOSED}, at or above {OPEN} "
            f"within {REACH} frames before and after) in which the made opening falls below {CLOSED}, within "
            f"{BESIDE} frame; from {FEWEST_CLOSURES} closures on",
            "ours: a film-based stand-in for p, b and m, whose times are not known",
            "sync",
            _KINDS,
        ),
        Metric(
            "bilabial_gap",
            "Gap at p, b, m",
            "eye distances",
            Better.lower,
            "mean over those closures of the smallest made opening less the driver's smallest",
            "ours: has no threshold for the made lips",
            "sync",
            _KINDS,
        ),
    )

    def __call__(self, clip: DubbedClip) -> Values:
        if Kind(clip.kind) not in _KINDS or clip.driver_opening is None:
            return {}
        return closing(clip.made.opening, clip.driver_opening)
