"""Numbers as readers see them, and words for those that are missing."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from evaluation.metrics.base import Better, Kind, Metric
from evaluation.rates import Rate
from evaluation.results import ALL, Row
from evaluation.statistics import badness
from evaluation.tables import Cell

MISSING = "\N{EN DASH}"
ARROWS = {
    Better.higher: "↑",
    Better.lower: "↓",
    Better.zero: "→\N{NO-BREAK SPACE}0",
    Better.one: "→\N{NO-BREAK SPACE}1",
    Better.none: "",
}
DIRECTIONS = {
    Better.higher: "higher is better",
    Better.lower: "lower is better",
    Better.zero: "the nearer to 0 the better",
    Better.one: "the nearer to 1 the better",
    Better.none: "describes; no value is best",
}
KINDS = {
    Kind.cross: "other speech",
    Kind.self: "own speech",
    Kind.silence: "no sound",
    Kind.cycle: "there and back",
}


@dataclass(frozen=True)
class Shown:
    """A cell of a table on the page; ``sort`` is what it is sorted by, None where the value is missing."""

    text: str
    sort: float | None = None
    hover: str = ""
    detail: str = ""
    stars: str = ""
    best: bool = False


def decimals(values: Iterable[float]) -> int:
    """Digits after the point so that the largest has three figures; two at least below a hundred."""
    largest = max((abs(value) for value in values), default=0.0)
    if largest == 0:
        return 0
    order = math.floor(math.log10(largest))
    return max(0, 3 - order if order == 1 else 2 - order if order < 3 else 0)


def number(value: float, digits: int) -> str:
    """With a true minus sign, and without one before zero."""
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")


def missing(reason: str) -> Shown:
    return Shown(MISSING, hover=reason)


def why_not(metric: Metric, kind: str, facts: dict[str, Any]) -> str:
    """Why a metric has no value in rows of a kind, as far as it is known."""
    if kind != ALL and Kind(kind) not in metric.kinds:
        return f"Only taken from rows of kind {', '.join(kind.value for kind in metric.kinds)}."
    known = facts.get("missing")
    if isinstance(known, dict) and metric.key in known:
        return str(known[metric.key])
    return "Not measured here."


def of_row(metric: Metric, row: Row | None, digits: int, facts: dict[str, Any]) -> Shown:
    """A row's value; ``row`` is None where the system has no such row."""
    if row is None:
        return missing("This system was not given this row.")
    if metric.key in row.values:
        value = row.values[metric.key]
        return Shown(number(value, digits), value, hover=f"{value:.6g} {metric.unit}".strip())
    return missing(f"No dub: {row.error}" if row.error is not None else why_not(metric, row.kind, facts))


def of_cell(metric: Metric, cell: Cell | None, digits: int, rows: int, reason: str) -> Shown:
    """A mean. ``rows``: of the block, so that a mean over fewer can be told."""
    if cell is None:
        return missing(reason)
    hover = [f"{cell.value:.6g} {metric.unit}".strip()]
    detail = []
    if cell.interval is not None:
        low, high = (number(end, digits) for end in cell.interval)
        detail.append(f"[{low}, {high}]")
    # Clips that all lie on one side of 0 or 1 have said it with their mean.
    if cell.off is not None and number(cell.off, digits) != number(
        badness(cell.value, metric.better), digits
    ):
        detail.append(f"off by {number(cell.off, digits)}")
    if cell.count is None:
        hover.append("of all clips at once")
    else:
        hover.append(f"mean of {cell.count}")
        if cell.count < rows:
            detail.append(f"n = {cell.count}")
    if cell.against is not None:
        hover.append(
            f"the first system is better: p = {cell.against.p:.2g}, {cell.against.pairs} pairs differ"
        )
    stars = cell.against.stars if cell.against is not None else ""
    text = number(cell.value, digits)
    return Shown(text, cell.value, "; ".join(hover), "\n".join(detail), stars, cell.best)


def of_rate(found: Rate) -> Shown:
    if found.interval is None:
        return missing("No row has a verdict.")
    percent = 100 * found.successes / found.count
    low, high = (f"{100 * end:.0f}" for end in found.interval)
    detail = [f"{found.successes} of {found.count}", f"[{low}, {high}]"]
    if found.errors:
        detail.append(f"{found.errors} without a dub")
    return Shown(f"{percent:.0f} %", percent, f"{found.count} rows have a verdict", "\n".join(detail))


def of_speed(found: Rate) -> Shown:
    speed = found.frames_per_second
    if speed is None:
        return missing("No time is known: the dubs were made elsewhere.")
    return Shown(number(speed, decimals([speed])), speed, "frames dubbed per second")
