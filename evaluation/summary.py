"""A few lines for the terminal; everything else is in the report."""

from __future__ import annotations

from evaluation.metrics.base import Better
from evaluation.results import Results
from evaluation.tables import Tables

ARROWS = {Better.higher: "up", Better.lower: "down", Better.zero: "to 0", Better.one: "to 1"}


def summary_lines(results: Results, tables: Tables) -> list[str]:
    """Means of every metric that has a best value, a column per system, and how many dubs succeeded."""
    width = max(14, *(len(name) + 2 for name in results.systems))
    block = tables.overall
    lines = [" " * 40 + "".join(name.rjust(width) for name in results.systems)]
    rates = [block.rates.get(name) for name in results.systems]
    told = ["-" if r is None or not r.count else f"{r.successes}/{r.count}" for r in rates]
    lines.append("successes".ljust(40) + "".join(text.rjust(width) for text in told))
    for metric in results.metrics:
        cells = [block.cells.get(name, {}).get(metric.key) for name in results.systems]
        if metric.better is Better.none or not any(cells):
            continue
        head = f"{metric.key} ({ARROWS[metric.better]})" + (f", {metric.unit}" if metric.unit else "")
        values = ["-" if cell is None else f"{cell.value:.3g}{'*' if cell.best else ''}" for cell in cells]
        lines.append(head.ljust(40) + "".join(text.rjust(width) for text in values))
    failed = [row for row in results.rows if row.error is not None]
    lines += [f"no dub: {row.system}, {row.name}: {row.error}" for row in failed]
    return lines
