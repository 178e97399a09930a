"""Metrics against constructed failures: which failure is seen by which metric."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.corruptions import Failure, standard_failures
from evaluation.dubbed_clip import DubbedClip
from evaluation.metrics.base import Better, Kind, Measure, Metric, Values
from evaluation.statistics import badness

CAUGHT = 3.0
"""A failure counts as caught from so many spreads of clean clips on, towards the bad end."""

# A metric that is the same on all perfect clips (PSNR against the truth, a lag of 0) has no spread of its
# own. It then counts in the smallest step that means something, by unit; others in 2% of themselves or of 1.
_LEAST_SPREAD = {"dB": 0.5, "frames": 0.5, "%": 1.0, "ms": 20.0}
_LEAST_SHARE = 0.02
# Normal data: standard deviation over median absolute deviation.
_MAD_TO_SIGMA = 1.4826


@dataclass(frozen=True)
class SensitivityCell:
    """One metric under one failure, in spreads over clean clips.

    Attributes:
        change: median over clips of the value's change.
        worse: median over clips of its change towards the bad end.
        clips: how many clips have the value with and without the failure.
    """

    change: float
    worse: float
    clips: int

    @property
    def caught(self) -> bool:
        return self.worse >= CAUGHT


@dataclass(frozen=True)
class Sensitivity:
    """The whole table.

    Attributes:
        metrics: rows; only those that could be taken from a clean clip.
        clean: key -> median over clean clips.
        spread: key -> robust spread over clean clips, never below the smallest step that means something.
        failures: columns.
        cells: (key, failure name) -> cell; absent where the failure takes the metric away.
        clips: how many.
        missing: keys of metrics that no clean clip gave.
    """

    metrics: tuple[Metric, ...]
    clean: dict[str, float]
    spread: dict[str, float]
    failures: tuple[Failure, ...]
    cells: dict[tuple[str, str], SensitivityCell]
    clips: int
    missing: tuple[str, ...]


def build_sensitivity(clips: Sequence[DubbedClip], measures: Sequence[Measure]) -> Sensitivity:
    """Take every metric of every clip as it is and under every failure.

    Args:
        clips: perfect dubs, at least two: each one's other words are those of the next.
        measures: each key in one of them only.

    Raises:
        ValueError: fewer than two clips, a key comes twice, or a value is not finite.
    """
    if len(clips) < 2:
        raise ValueError("a sensitivity needs at least two clips: one lends its speech to the other")
    metrics = [metric for measure in measures for metric in measure.metrics]
    twice = sorted({m.key for m in metrics if sum(m.key == other.key for other in metrics) > 1})
    if twice:
        raise ValueError(f"more than one measure gives '{twice[0]}'")
    columns = [standard_failures(clips[(i + 1) % len(clips)]) for i in range(len(clips))]
    clean = [_measured(clip, measures) for clip in clips]
    known = [m for m in metrics if any(m.key in values for values in clean)]
    spread = {m.key: _spread([v[m.key] for v in clean if m.key in v], m.unit) for m in known}
    cells: dict[tuple[str, str], SensitivityCell] = {}
    for column, failure in enumerate(columns[0]):
        hurt = [
            _measured(own[column].apply(clip), measures) for own, clip in zip(columns, clips, strict=True)
        ]
        for metric in known:
            cell = _cell(metric, clean, hurt, spread[metric.key])
            if cell is not None:
                cells[metric.key, failure.name] = cell
    return Sensitivity(
        metrics=tuple(known),
        clean={m.key: float(np.median([v[m.key] for v in clean if m.key in v])) for m in known},
        spread=spread,
        failures=columns[0],
        cells=cells,
        clips=len(clips),
        missing=tuple(m.key for m in metrics if m not in known),
    )


def _measured(clip: DubbedClip, measures: Iterable[Measure]) -> Values:
    values: Values = {}
    for measure in measures:
        suited = {m.key for m in measure.metrics if Kind(clip.kind) in m.kinds}
        if suited:
            values |= {key: value for key, value in measure(clip).items() if key in suited}
    for key, value in values.items():
        if not math.isfinite(value):
            raise ValueError(f"'{key}' of {clip.name} is {value}: what cannot be measured must be left out")
    return values


def _spread(values: Sequence[float], unit: str) -> float:
    middle = float(np.median(values))
    robust = _MAD_TO_SIGMA * float(np.median(np.abs(np.asarray(values) - middle)))
    return max(robust, _LEAST_SPREAD.get(unit, _LEAST_SHARE * max(1.0, abs(middle))))


def _badness(metric: Metric, value: float, clean: float) -> float:
    """How far the value is from the metric's good end, in its unit; without one, from the clean clip's."""
    return abs(value - clean) if metric.better is Better.none else badness(value, metric.better)


def _cell(
    metric: Metric, clean: Sequence[Values], hurt: Sequence[Values], spread: float
) -> SensitivityCell | None:
    key = metric.key
    pairs = [(a[key], b[key]) for a, b in zip(clean, hurt, strict=True) if key in a and key in b]
    if not pairs:
        return None
    worse = [_badness(metric, b, a) - _badness(metric, a, a) for a, b in pairs]
    return SensitivityCell(
        change=float(np.median([b - a for a, b in pairs])) / spread,
        worse=float(np.median(worse)) / spread,
        clips=len(pairs),
    )


def verdicts(sensitivity: Sensitivity) -> list[str]:
    """One sentence per failure: who catches it, whether those who are meant to do, and who does not."""
    lines = []
    for failure in sensitivity.failures:
        measured = {
            m.key: sensitivity.cells[m.key, failure.name]
            for m in sensitivity.metrics
            if (m.key, failure.name) in sensitivity.cells
        }
        caught = sorted((k for k, c in measured.items() if c.caught), key=lambda k: -measured[k].worse)
        missed = [k for k in failure.meant if k in measured and not measured[k].caught]
        absent = [k for k in failure.meant if k not in measured]
        line = f"{failure.title}: caught by {_listed(caught, failure)}"
        line += f"; not by {_listed([k for k in measured if k not in caught and k not in missed], failure)}"
        if missed:
            line += f"; MISSED by {_listed(missed, failure)}"
        if absent:
            line += f"; not measured: {', '.join(absent)}"
        lines.append(line + ".")
    return lines


def _listed(keys: Sequence[str], failure: Failure) -> str:
    return ", ".join(f"{key} (meant)" if key in failure.meant else key for key in keys) or "none"


def markdown(sensitivity: Sensitivity) -> str:
    """The table, what its numbers mean, and the verdicts."""
    head = ["metric", "good end", "clean", "spread", *(f.title for f in sensitivity.failures)]
    lines = [_line(head), _line(["---"] * 2 + ["---:"] * (len(head) - 2))]
    for metric in sensitivity.metrics:
        unit = f" {metric.unit}" if metric.unit else ""
        row = [f"`{metric.key}`", metric.better.value]
        row += [f"{_short(sensitivity.clean[metric.key])}{unit}", _short(sensitivity.spread[metric.key])]
        row += [
            _shown(sensitivity.cells.get((metric.key, f.name)), metric.key in f.meant)
            for f in sensitivity.failures
        ]
        lines.append(_line(row))
    text = (
        f"{sensitivity.clips} perfect dubs. Each cell: by how many spreads the metric moves "
        "(median over clips; spread: 1.4826 times the median absolute deviation over the clean clips, at "
        "least the smallest step that means something). Bold: the metric is meant for this failure. "
        f"▲: at least {CAUGHT:g} spreads towards the bad end, which counts as caught. gone: the failure "
        "leaves nothing to measure."
    )
    parts = [text, "\n".join(lines), "\n".join(f"- {line}" for line in verdicts(sensitivity))]
    if sensitivity.missing:
        parts.append(f"Not to be had from these clips: {', '.join(f'`{k}`' for k in sensitivity.missing)}.")
    return "\n\n".join(parts) + "\n"


def _line(words: Sequence[str]) -> str:
    return "| " + " | ".join(words) + " |"


def _shown(cell: SensitivityCell | None, meant: bool) -> str:
    if cell is None:
        text = "gone"
    else:
        far = "over +99" if cell.change > 0 else "under -99"
        text = f"{cell.change:+.1f}" if abs(cell.change) < 99.95 else far
        text += "▲" if cell.caught else ""
    return f"**{text}**" if meant else text


def _short(value: float) -> str:
    return f"{value:.3g}"
