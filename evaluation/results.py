"""What an evaluation has found, as the report, the tables and other programs read it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from evaluation.metrics.base import Metric, Values

ALL = "all"
"""In place of the name of a group or a kind: all of them."""


@dataclass(frozen=True)
class Row:
    """One system on one row of the manifest.

    Attributes:
        name, group, kind: of the row.
        system: its name.
        values: metric key -> value.
        curves: name ("made", "source", "driver", "truth") -> mouth openings, 25 per second, None if unknown.
        seconds: wall-clock time of the dub; None where it was made elsewhere.
        frames: frames at 25 per second.
        success: whether the rules of evaluation.success hold; ``reasons`` says which do not.
        error: why there is no dub; ``values`` is empty then.
        notes: sentences on what was odd (other size, other length).
        video, preview, strip: files relative to the output folder: the dub, a small side-by-side clip of
            source and dub (and truth), a picture of mouths; None where not made.
    """

    name: str
    group: str
    kind: str
    system: str
    values: Values
    curves: dict[str, list[float | None]] = field(default_factory=dict)
    seconds: float | None = None
    frames: int = 0
    success: bool | None = None
    reasons: tuple[str, ...] = ()
    error: str | None = None
    notes: tuple[str, ...] = ()
    video: str | None = None
    preview: str | None = None
    strip: str | None = None


@dataclass(frozen=True)
class Results:
    """A whole evaluation.

    Attributes:
        title: of the report.
        systems: names, in the order of the tables; the first is the one that others are compared with.
        groups: names, in the order of the tables.
        metrics: columns, in order.
        rows: one per system and row of the manifest.
        pooled: system -> group ("all" for all of them) -> metric key -> value, of metrics over many clips.
        facts: lines for the foot of the report: judge networks, versions, what was not measured and why.
    """

    title: str
    systems: tuple[str, ...]
    groups: tuple[str, ...]
    metrics: tuple[Metric, ...]
    rows: tuple[Row, ...]
    pooled: dict[str, dict[str, Values]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
