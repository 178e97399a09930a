"""Every measure of an evaluation, in the order of the tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from evaluation.metrics.base import Measure, Metric, PooledMeasure


@dataclass(frozen=True)
class Measures:
    """What is measured.

    Attributes:
        clip: measures of single clips.
        pooled: measures of many clips at once.
        facts: heading -> line: which judge networks are used, what is not measured and which file it needs.
    """

    clip: tuple[Measure, ...]
    pooled: tuple[PooledMeasure, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Every column."""
        return tuple(metric for measure in (*self.clip, *self.pooled) for metric in measure.metrics)
