"""What marks say: screening of raters, means with their uncertainty, paired comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wilcoxon

from evaluation.mos.answers import Answers
from evaluation.mos.key import CRITERIA, Key, Page, VideoRole
from evaluation.results import ALL

LEAST_FOR_TRUTH = 6.0
MOST_FOR_CONTROL = 4.0
"""EdiDub, appendix A.2: a rater counts unless a mean is lower (higher) than this."""

_DRAWS = 10_000


@dataclass(frozen=True)
class Mean:
    """Marks of one system (or of the truth or the control).

    Attributes:
        ratings: how many marks.
        mean: from 1 to 10.
        standard_error: of the mean, all marks taken as independent, as papers print it; None for one mark.
        low, high: 95% interval by bootstrap over raters and clips, both drawn again: marks of one rater, or
            of one clip, are not independent.
    """

    system: str
    role: VideoRole
    group: str
    criterion: str
    ratings: int
    mean: float
    standard_error: float | None
    low: float
    high: float


@dataclass(frozen=True)
class SystemComparison:
    """Wilcoxon's signed-rank test on pairs: one rater's marks for two systems on one page.

    Attributes:
        difference: mean mark of ``first`` less that of ``other``.
        untied: pairs with different marks, on which the test rests.
        p_first_better: one-sided, as in EdiDub A.1. p_two_sided: of any difference. 1 where all are ties.
    """

    first: str
    other: str
    group: str
    criterion: str
    pairs: int
    untied: int
    difference: float
    p_first_better: float
    p_two_sided: float


def screen(answers: Answers, key: Key) -> list[str]:
    """Why a rater does not count, in sentences; empty for one who does (EdiDub, appendix A.2).

    The mean for the ground truth must be at least 6 and the mean for the controls at most 4, for naturalness
    and for synchronisation alike.
    """
    reasons = []
    for criterion in CRITERIA:
        truth, control = (
            float(np.mean(_marks([answers], key.pages, role, _only(key, role), criterion)))
            for role in (VideoRole.truth, VideoRole.control)
        )
        if truth < LEAST_FOR_TRUTH:
            reasons.append(f"Mean {criterion} of the ground truth is {truth:.2f}, below {LEAST_FOR_TRUTH:g}.")
        if control > MOST_FOR_CONTROL:
            reasons.append(f"Mean {criterion} of the control is {control:.2f}, above {MOST_FOR_CONTROL:g}.")
    return reasons


def means(kept: Sequence[Answers], key: Key) -> list[Mean]:
    """Of every system, the truth and the control, by group and over all; empty without raters."""
    rows = []
    for group, pages in _groups(key).items():
        for criterion in CRITERIA:
            for role, system in _entries(key):
                if kept:
                    marks = _marks(kept, pages, role, system, criterion)
                    rows.append(_mean(marks, system, role, group, criterion, key.seed))
    return rows


def _mean(
    marks: NDArray[np.float64], system: str, role: VideoRole, group: str, criterion: str, seed: int
) -> Mean:
    low, high = bootstrap(marks, seed)
    error = float(marks.std(ddof=1) / np.sqrt(marks.size)) if marks.size > 1 else None
    return Mean(system, role, group, criterion, marks.size, float(marks.mean()), error, low, high)


def bootstrap(marks: NDArray[np.float64], seed: int, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of the mean of marks (raters, clips), both sides drawn with replacement."""
    rng = np.random.default_rng(seed)
    raters, clips = marks.shape
    who = rng.multinomial(raters, np.full(raters, 1 / raters), _DRAWS) / raters
    what = rng.multinomial(clips, np.full(clips, 1 / clips), _DRAWS) / clips
    drawn = ((who @ marks) * what).sum(axis=1)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def comparisons(kept: Sequence[Answers], key: Key) -> list[SystemComparison]:
    """The first system against each other one, by group and over all; empty without raters."""
    rows = []
    for group, pages in _groups(key).items():
        for criterion in CRITERIA:
            for other in key.systems[1:]:
                if kept:
                    a, b = (
                        _marks(kept, pages, VideoRole.system, name, criterion)
                        for name in (key.systems[0], other)
                    )
                    rows.append(_comparison((a - b).ravel(), key.systems[0], other, group, criterion))
    return rows


def _comparison(
    steps: NDArray[np.float64], first: str, other: str, group: str, criterion: str
) -> SystemComparison:
    untied = int(np.count_nonzero(steps))
    # Without a difference there is nothing to rank.
    better, either = (
        float(wilcoxon(steps, alternative=side).pvalue) if untied else 1.0
        for side in ("greater", "two-sided")
    )
    return SystemComparison(
        first, other, group, criterion, len(steps), untied, float(steps.mean()), better, either
    )


def _entries(key: Key) -> list[tuple[VideoRole, str]]:
    """Systems in their order, then truth and control."""
    others = [(role, _only(key, role)) for role in (VideoRole.truth, VideoRole.control)]
    return [(VideoRole.system, name) for name in key.systems] + others


def _only(key: Key, role: VideoRole) -> str:
    return next(entry.system for entry in key.pages[0].videos if entry.role is role)


def _groups(key: Key) -> dict[str, list[Page]]:
    """All pages, and where there are several groups each one's."""
    groups: dict[str, list[Page]] = {}
    for page in key.pages:
        groups.setdefault(page.group, []).append(page)
    return {ALL: list(key.pages), **(groups if len(groups) > 1 else {})}


def _marks(
    answers: Sequence[Answers], pages: Sequence[Page], role: VideoRole, system: str, criterion: str
) -> NDArray[np.float64]:
    """(raters, clips) marks."""
    tokens = [
        entry.token
        for page in pages
        for entry in page.videos
        if entry.role is role and entry.system == system
    ]
    return np.array([[a.marks[token][criterion] for token in tokens] for a in answers], np.float64)
