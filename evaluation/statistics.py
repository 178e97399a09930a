"""How sure a mean is, and whether one system beats another on the same clips."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from evaluation.metrics.base import Better

LEVEL = 0.95
RESAMPLES = 2000
FEWEST_CLIPS = 3
"""With fewer a bootstrap says nothing: no interval."""
FEWEST_PAIRS = 6
"""With five pairs even five wins have p = 1/32: too near the limit to be read."""

# As far as SciPy's own exact distribution goes.
_EXACT_PAIRS = 50

STARS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))
NOT_SIGNIFICANT = "ns"

Interval = tuple[float, float]


@dataclass(frozen=True)
class Estimate:
    """The mean of ``count`` clips and its interval; None with fewer than :data:`FEWEST_CLIPS` clips."""

    mean: float
    interval: Interval | None
    count: int


@dataclass(frozen=True)
class Comparison:
    """A one-sided test that one system is better than another; ``pairs``: clips on which they differ."""

    p: float
    pairs: int

    @property
    def stars(self) -> str:
        """ "ns", "*", "**" or "***": p below .05, .01, .001 (EdiDub, A.1)."""
        return next((stars for limit, stars in STARS if self.p < limit), NOT_SIGNIFICANT)


def _finite(values: Sequence[float]) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not np.isfinite(array).all():
        raise ValueError("values must be a list of finite numbers")
    return array


def estimate(
    values: Sequence[float], *, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """Mean over clips with a percentile bootstrap interval; the order of the clips does not matter.

    Percentile and not BCa: it always holds the mean and is defined for equal values, too.

    Args:
        values: one per clip, at least one.
        level: share of the interval.

    Raises:
        ValueError: no value, or one that is not finite.
    """
    # Resampling draws places: sorted, the same clips give the same interval.
    sample = np.sort(_finite(values))
    if not len(sample):
        raise ValueError("a mean needs at least one value")
    mean = math.fsum(sample) / len(sample)
    if len(sample) < FEWEST_CLIPS:
        return Estimate(mean, None, len(sample))
    found = stats.bootstrap(
        (sample,), np.mean, n_resamples=resamples, confidence_level=level, method="percentile", rng=seed
    ).confidence_interval
    # Of equal values the resampled means may lie beside the mean by a rounding.
    return Estimate(mean, (min(float(found.low), mean), max(float(found.high), mean)), len(sample))


def share(successes: int, count: int, level: float = LEVEL) -> Interval:
    """Wilson's interval of a success rate, 0..1."""
    found = stats.binomtest(successes, count).proportion_ci(confidence_level=level, method="wilson")
    return float(found.low), float(found.high)


def badness(value: float, better: Better) -> float:
    """A number that is smaller the better ``value`` is.

    Raises:
        ValueError: the metric has no best value.
    """
    if better is Better.higher:
        return -value
    if better is Better.lower:
        return value
    if better is Better.zero:
        return abs(value)
    if better is Better.one:
        return abs(value - 1)
    raise ValueError("a metric without a good end has no better and worse")


def compare(first: Sequence[float], other: Sequence[float], better: Better) -> Comparison | None:
    """One-sided paired Wilcoxon signed-rank test (EdiDub, A.1).

    Alternative hypothesis: ``first`` is better than ``other``. Pairs without a difference are left out.

    Args:
        first, other: values of the same clips in the same order.
        better: where the good end is.

    Returns:
        None where fewer than :data:`FEWEST_PAIRS` pairs differ, or where the metric has no best value.
    """
    a, b = _finite(first), _finite(other)
    if len(a) != len(b):
        raise ValueError(f"a paired test needs as many values of both, got {len(a)} and {len(b)}")
    if better is Better.none:
        return None
    difference = np.array([badness(y, better) - badness(x, better) for x, y in zip(a, b, strict=True)])
    # |0.9 - 1| and |1.1 - 1| differ in the last bit: a rounding is not a win.
    scale = np.maximum(np.maximum(np.abs(a), np.abs(b)), float(better is Better.one))
    difference = difference[np.abs(difference) > 1e-9 * scale]
    if len(difference) < FEWEST_PAIRS:
        return None
    tied = len(np.unique(np.abs(difference))) < len(difference)
    if tied and len(difference) <= _EXACT_PAIRS:
        return Comparison(_exact_with_ties(difference), len(difference))
    found = stats.wilcoxon(difference, alternative="greater")
    return Comparison(float(found.pvalue), len(difference))


def _exact_with_ties(difference: NDArray[np.float64]) -> float:
    """P(sum of the positive ones' ranks is at least so large) over all 2^n choices of signs.

    SciPy lists the choices one by one, more than a second for 13 pairs, and goes over to the normal law
    after that. Counting sums gives the same number at once; counts below 2^53 are exact.
    """
    # Middle ranks are halves: doubled, sums are whole numbers.
    ranks = np.rint(2 * stats.rankdata(np.abs(difference))).astype(int)
    ways = np.zeros(int(ranks.sum()) + 1)
    ways[0] = 1
    for rank in ranks:
        ways[rank:] += ways[:-rank].copy()
    return float(ways[ranks[difference > 0].sum() :].sum() / 2.0 ** len(ranks))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (1979) for having asked several questions; in the given order."""
    count = len(p_values)
    adjusted = [0.0] * count
    worst = 0.0
    for rank, index in enumerate(sorted(range(count), key=lambda i: p_values[i])):
        worst = max(worst, min(1.0, (count - rank) * p_values[index]))
        adjusted[index] = worst
    return adjusted
