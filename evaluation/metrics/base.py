"""What a metric says about itself, and how every metric is called."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from evaluation.dubbed_clip import DubbedClip

Values = dict[str, float]
"""Metric key -> value. A metric that cannot be taken from a clip is left out; never NaN, never a stand-in."""

Features = dict[str, NDArray[np.floating]]
"""What a pooled metric keeps of one clip."""


class Better(Enum):
    """Where a metric's good end is."""

    higher = "higher"
    lower = "lower"
    zero = "zero"
    """the nearer to 0, on either side"""
    one = "one"
    """the nearer to 1, on either side: ratios to the source"""
    none = "none"
    """describes; no value is best"""


class Kind(str, Enum):
    """What the speech of a row is, against the video."""

    cross = "cross"
    """other speech: the task"""
    self = "self"
    """the video's own speech"""
    silence = "silence"
    """no sound at all"""
    cycle = "cycle"
    """the dub of a cross row, dubbed again with the source's own speech"""


ALL_KINDS = tuple(Kind)


@dataclass(frozen=True)
class Metric:
    """A column of the tables.

    Attributes:
        key: name in JSON and CSV.
        title: heading of the column, a few characters. Where a judge network is used its name is part of it.
        unit: "dB", "frames", "%" ...; empty for pure numbers.
        better: the good end.
        formula: one line that defines the number.
        source: paper with section or equation, or "ours" with the reason.
        kinds: rows that it is taken from.
        group: family, heading over the columns: "sync", "leak", "identity", "looks", "truth", "speech".
    """

    key: str
    title: str
    unit: str
    better: Better
    formula: str
    source: str
    group: str
    kinds: tuple[Kind, ...] = ALL_KINDS


class Measure(Protocol):
    """Takes some metrics from one clip. Loaded networks live in it, so one object serves a whole run."""

    @property
    def metrics(self) -> tuple[Metric, ...]: ...

    @property
    def fingerprint(self) -> str:
        """Changes whenever the same clip would get other values (version, weights, settings)."""
        ...

    def __call__(self, clip: DubbedClip) -> Values: ...


class PooledMeasure(Protocol):
    """Metrics of many clips at once (FID): features per clip, one value per group of clips."""

    @property
    def metrics(self) -> tuple[Metric, ...]: ...

    @property
    def fingerprint(self) -> str: ...

    def features(self, clip: DubbedClip) -> Features:
        """What is kept of one clip, arrays of any shape; empty where nothing can be taken."""
        ...

    def pool(self, clips: list[Features]) -> Values:
        """Values of a group of clips; those that need more clips than there are are left out."""
        ...
