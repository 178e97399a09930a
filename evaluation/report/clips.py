"""What the page shows of each clip."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from markupsafe import Markup

from evaluation.metrics.base import Metric
from evaluation.report.charts import curve_chart, system_class
from evaluation.report.numbers import Shown, decimals, of_row
from evaluation.results import Results, Row
from evaluation.tables import clip_key

RowValue = Callable[[Metric, Row | None], Shown]

KNOWN_CURVES = ("source", "driver", "truth")


@dataclass(frozen=True)
class ReportVersion:
    """One system in the section of a clip."""

    system: str
    colour: str
    row: Row | None
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class ReportClip:
    """All systems on one row of the manifest; ``values``: a line per metric, a cell per system."""

    anchor: str
    name: str
    group: str
    kind: str
    versions: tuple[ReportVersion, ...]
    curves: Markup | None
    drawn: tuple[str, ...]
    values: tuple[tuple[Metric, tuple[Shown, ...]], ...]


def row_values(results: Results) -> RowValue:
    """Shows values of rows with as many digits as the metric's other rows have."""
    digits = {
        metric.key: decimals(row.values[metric.key] for row in results.rows if metric.key in row.values)
        for metric in results.metrics
    }
    return lambda metric, row: of_row(metric, row, digits[metric.key], results.facts)


def clips(results: Results, row_value: RowValue) -> list[ReportClip]:
    """Rows of all systems by clip, in order of appearance."""
    by_clip: dict[tuple[str, str, str], dict[str, Row]] = {}
    for row in results.rows:
        by_clip.setdefault(clip_key(row), {})[row.system] = row
    return [
        _clip(results, f"clip-{k + 1}", key, rows, row_value) for k, (key, rows) in enumerate(by_clip.items())
    ]


def _clip(
    results: Results, anchor: str, key: tuple[str, str, str], rows: dict[str, Row], row_value: RowValue
) -> ReportClip:
    group, name, kind = key
    known = {
        which: next(row.curves[which] for row in rows.values() if which in row.curves)
        for which in KNOWN_CURVES
        if any(which in row.curves for row in rows.values())
    }
    made = [
        (place, rows[system].curves["made"])
        for place, system in enumerate(results.systems)
        if system in rows and "made" in rows[system].curves
    ]
    # Lines of metrics that no system has for this clip are left out.
    shown = [metric for metric in results.metrics if any(metric.key in row.values for row in rows.values())]
    return ReportClip(
        anchor,
        name,
        group,
        kind,
        tuple(
            ReportVersion(system, system_class(place), rows.get(system), _warnings(rows.get(system)))
            for place, system in enumerate(results.systems)
        ),
        curve_chart(known, made, anchor) if known or made else None,
        tuple(known),
        tuple(
            (metric, tuple(row_value(metric, rows.get(system)) for system in results.systems))
            for metric in shown
        ),
    )


def _warnings(row: Row | None) -> tuple[str, ...]:
    if row is None:
        return ("This system was not given this row.",)
    failed = () if row.error is None else (f"No dub: {row.error}",)
    broken = tuple(f"Rule broken: {reason}" for reason in row.reasons)
    return (*failed, *broken, *row.notes)
