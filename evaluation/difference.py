"""How far one system is from another on the same clips, in one cell of a table."""

from __future__ import annotations

from collections.abc import Sequence

from evaluation.metrics.base import Better
from evaluation.statistics import compare, estimate


def mean_cell(values: Sequence[float | None]) -> str:
    """The mean of the values that are known; "-" where none is."""
    known = [value for value in values if value is not None]
    return f"{estimate(known).mean:.3f}" if known else "-"


def difference_cell(first: Sequence[float | None], other: Sequence[float | None]) -> str:
    """The mean of ``other`` less ``first``, of the same clips in the same order, where both are known.

    With a 95 % bootstrap interval over clips and the stars of a one-sided Wilcoxon test in the direction of
    the difference, as far as there are clips enough for them; "-" where no clip is known of both.
    """
    known = [(a, b) for a, b in zip(first, other, strict=True) if a is not None and b is not None]
    if not known:
        return "-"
    found = estimate([b - a for a, b in known])
    better = Better.higher if found.mean > 0 else Better.lower
    tested = compare([b for _, b in known], [a for a, _ in known], better)
    span = "" if found.interval is None else f" ({found.interval[0]:+.3f} to {found.interval[1]:+.3f})"
    return f"{found.mean:+.3f}{span} {'' if tested is None else tested.stars}".rstrip()
