"""Tables and charts of means, as the page shows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from evaluation.metrics.base import Better, Kind, Metric
from evaluation.report.charts import dot_chart, system_class
from evaluation.report.numbers import KINDS, Shown, decimals, of_cell, of_rate, of_speed, why_not
from evaluation.results import ALL, Results
from evaluation.tables import Block, Tables, clip_key, taken_values


@dataclass(frozen=True)
class Line:
    system: str
    colour: str
    fields: tuple[Shown, ...]


@dataclass(frozen=True)
class Body:
    """Lines of a table under one heading; no heading where ``title`` is empty."""

    title: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Table:
    """The metrics of one family as columns."""

    family: str
    metrics: tuple[Metric, ...]
    bodies: tuple[Body, ...]


def families(metrics: Sequence[Metric]) -> dict[str, tuple[Metric, ...]]:
    """Metrics by family, in order of appearance."""
    found: dict[str, tuple[Metric, ...]] = {}
    for metric in metrics:
        found[metric.group] = (*found.get(metric.group, ()), metric)
    return found


def block_title(block: Block) -> str:
    if block.group != ALL:
        return f"{block.group} ({_rows(block.rows)})"
    if block.kind != ALL:
        return f"{block.kind}: {KINDS[Kind(block.kind)]} ({_rows(block.rows)})"
    return ""


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"


def mean_tables(results: Results, blocks: Sequence[Block]) -> list[Table]:
    """One table per family of metrics with a body per block; none for kinds that no metric of it is for."""
    tables = []
    for family, metrics in families(results.metrics).items():
        meant = [block for block in blocks if any(_meant(results, block, metric) for metric in metrics)]
        if meant:
            tables.append(Table(family, metrics, tuple(_body(results, block, metrics) for block in meant)))
    return tables


def _body(results: Results, block: Block, metrics: tuple[Metric, ...]) -> Body:
    def shown(metric: Metric, system: str) -> Shown:
        own = [cells[metric.key] for cells in block.cells.values() if metric.key in cells]
        digits = decimals(cell.value for cell in own)
        reason = why_not(metric, block.kind, results.facts)
        return of_cell(
            metric, block.cells[system].get(metric.key), digits, _meant(results, block, metric), reason
        )

    return Body(
        block_title(block),
        tuple(
            Line(system, system_class(place), tuple(shown(metric, system) for metric in metrics))
            for place, system in enumerate(results.systems)
        ),
    )


def _meant(results: Results, block: Block, metric: Metric) -> int:
    """Rows of a block that a metric can be taken from."""
    return len(
        {
            clip_key(row)
            for row in results.rows
            if block.kind in (ALL, row.kind) and block.group in (ALL, row.group)
            if Kind(row.kind) in metric.kinds
        }
    )


def rate_lines(results: Results, tables: Tables) -> list[Line]:
    """Success of every system in every block, then its speed."""
    return [
        Line(
            system,
            system_class(place),
            (
                *(of_rate(block.rates[system]) for block in tables.blocks),
                of_speed(tables.overall.rates[system]),
            ),
        )
        for place, system in enumerate(results.systems)
    ]


def main_metrics(results: Results) -> list[Metric]:
    """Those that ``facts["main"]`` names, else the first of each family that has a best value."""
    named = results.facts.get("main")
    if named is not None:
        return [metric for metric in results.metrics if metric.key in named]
    ranked = families([metric for metric in results.metrics if metric.better is not Better.none])
    return [metrics[0] for metrics in ranked.values()]


def charts(results: Results, tables: Tables) -> list[tuple[Metric, Markup]]:
    """A dot chart of each main metric that any system has."""
    found = []
    for metric in main_metrics(results):
        systems = [
            (
                system,
                list(taken_values(metric, (r for r in results.rows if r.system == system)).values()),
                tables.overall.cells[system].get(metric.key),
            )
            for system in results.systems
        ]
        if any(cell is not None for _, _, cell in systems):
            found.append((metric, dot_chart(metric, systems)))
    return found
