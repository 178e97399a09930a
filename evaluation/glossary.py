"""``python -m evaluation.glossary``: every metric as a line of docs/metrics.md."""

from __future__ import annotations

from collections.abc import Sequence

from evaluation.metrics.base import ALL_KINDS, Better, Metric

GOOD_END = {
    Better.higher: "higher",
    Better.lower: "lower",
    Better.zero: "0",
    Better.one: "1",
    Better.none: "describes",
}


def markdown(metrics: Sequence[Metric]) -> str:
    """A table: key, unit, good end, rows it is taken from, formula, source."""
    lines = [
        "| key | unit | good | rows | formula | source |",
        "|---|---|---|---|---|---|",
    ]
    for metric in metrics:
        kinds = "all" if metric.kinds == ALL_KINDS else ", ".join(kind.value for kind in metric.kinds)
        cells = [
            f"`{metric.key}`",
            metric.unit,
            GOOD_END[metric.better],
            kinds,
            metric.formula,
            metric.source,
        ]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def documented_metrics() -> tuple[Metric, ...]:
    """All but those whose description names a network's file (SyncNet, LPIPS, FID, FVD)."""
    from evaluation.metrics.identity import Identity
    from evaluation.metrics.speech import V_SIM, WER
    from evaluation.registry import load_measures

    return (*load_measures().metrics, *Identity.metrics, V_SIM, WER)


if __name__ == "__main__":
    print(markdown(documented_metrics()))
