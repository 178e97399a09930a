"""How far systems are from another on the same clips, as a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from evaluation.metrics.base import Better
from evaluation.statistics import compare, estimate

Values = Sequence[float | None]
"""Of clips, in an order; None where a value is not known."""


def difference_table(title: str, systems: Sequence[tuple[str, Mapping[str, Values]]]) -> list[str]:
    """A Markdown table: means of the first system, and how far the others are from it.

    Args:
        title: of the first column.
        systems: each one's name and measures, in the order of the columns -> values of the same clips.
    """
    (first, base), *others = systems
    rows = [_row(title, base), "|---|" + "---|" * len(base)]
    rows.append(_row(first, map(_mean_cell, base.values())))
    for name, values in others:
        rows.append(_row(name, (_difference_cell(base[measure], values[measure]) for measure in base)))
    return rows


def _row(name: str, cells: Iterable[str]) -> str:
    return " | ".join([f"| {name}".rstrip(), *cells]) + " |"


def _mean_cell(values: Values) -> str:
    """The mean of the values that are known; "-" where none is."""
    known = [value for value in values if value is not None]
    return f"{estimate(known).mean:.3f}" if known else "-"


def _difference_cell(first: Values, other: Values) -> str:
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
