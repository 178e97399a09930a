"""How often a system succeeds, and how fast it is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from evaluation.results import Row
from evaluation.statistics import Interval, share


@dataclass(frozen=True)
class Rate:
    """How often the rules of success hold; a row without a dub is a failure.

    Attributes:
        successes, count: rows; rows without a verdict are not counted.
        interval: Wilson's, 95 %, 0..1; None where no row has a verdict.
        errors: rows without a dub.
        frames_per_second: of dubbing, all frames over all seconds; None where no time is known.
    """

    successes: int
    count: int
    interval: Interval | None
    errors: int
    frames_per_second: float | None


def rate(rows: Iterable[Row]) -> Rate:
    """Success and speed of one system's rows."""
    rows = list(rows)
    decided = [row for row in rows if row.success is not None or row.error is not None]
    successes = sum(row.success is True and row.error is None for row in decided)
    timed = [row for row in rows if row.seconds and row.frames and row.error is None]
    return Rate(
        successes,
        len(decided),
        share(successes, len(decided)) if decided else None,
        sum(row.error is not None for row in rows),
        sum(row.frames for row in timed) / sum(row.seconds or 0 for row in timed) if timed else None,
    )
