"""Means over clips: per kind and group of rows, per system, per metric."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from evaluation.metrics.base import Better, Kind, Metric
from evaluation.rates import Rate, rate
from evaluation.results import ALL, Results, Row
from evaluation.statistics import Comparison, Interval, badness, compare, estimate, holm


@dataclass(frozen=True)
class Cell:
    """A system's number in a table.

    Attributes:
        value: mean over clips, or the pooled value of all of them.
        interval: 95 %; None with fewer than three clips and of pooled values.
        count: clips that it was taken from; None of pooled values.
        against: the test that the first system is better than this one; None of the first system itself,
            of metrics without a best value, of pooled values and where too few pairs differ.
        off: mean distance of the clips from 0 or 1, of metrics that have their good end there: late and
            early clips do not make up for each other.
        best: no other system is better (by ``off``, where there is one). Nothing is best where only one
            system has a value.
    """

    value: float
    interval: Interval | None = None
    count: int | None = None
    against: Comparison | None = None
    off: float | None = None
    best: bool = False


@dataclass(frozen=True)
class Block:
    """The rows of one kind and one group ("all" for any); ``cells`` and ``rates`` by system."""

    kind: str
    group: str
    rows: int
    cells: dict[str, dict[str, Cell]]
    rates: dict[str, Rate]


@dataclass(frozen=True)
class Tables:
    """All means of an evaluation.

    Attributes:
        blocks: everything first; then, where there are two or more, each kind and each group. Those of any
            kind leave self and cycle rows to their own blocks, but for metrics that want them alone.
        corrected: the tests of a block are adjusted (Holm) for the number of metrics, per system.
    """

    blocks: tuple[Block, ...]
    corrected: bool

    @property
    def overall(self) -> Block:
        return self.blocks[0]

    @property
    def kinds(self) -> tuple[Block, ...]:
        return tuple(block for block in self.blocks if block.kind != ALL)

    @property
    def groups(self) -> tuple[Block, ...]:
        return tuple(block for block in self.blocks if block.group != ALL)


def clip_key(row: Row) -> tuple[str, str, str]:
    """What says that rows of two systems are the same question: (group, name, kind)."""
    return row.group, row.name, Kind(row.kind).value


def require_sound(results: Results) -> None:
    """Refuse results that would make wrong tables without anybody noticing.

    Raises:
        ValueError: an unknown system, group, kind or metric, two rows for one place, a value that is not
            finite, or a group named "all" beside others.
    """
    known = {metric.key for metric in results.metrics}
    if not results.systems or len(known) < len(results.metrics):
        raise ValueError("results need a system, and every metric once")
    if ALL in results.groups and len(results.groups) > 1:
        raise ValueError('a group beside others must not be named "all"')
    seen = set()
    for row in results.rows:
        place = (row.system, *clip_key(row))
        if place in seen:
            raise ValueError(f"two rows for {place}")
        seen.add(place)
        if row.system not in results.systems or row.group not in results.groups:
            raise ValueError(f"the system or group of {place} is not among those of the results")
        if not known.issuperset(row.values):
            raise ValueError(f"{place} has values of unknown metrics: {sorted(set(row.values) - known)}")
        if not all(math.isfinite(value) for value in row.values.values()):
            raise ValueError(f"{place} has a value that is not finite")


def aggregate(results: Results, *, correct: bool = False, seed: int = 0) -> Tables:
    """Means, intervals and tests of an evaluation.

    A metric is averaged over rows of the kinds in ``Metric.kinds`` only. Pooled metrics are known over all
    kinds only: they stand in the blocks of all kinds.

    Args:
        correct: adjust the tests of each system in a block for the number of metrics (Holm).
        seed: of the bootstrap.

    Raises:
        ValueError: see :func:`require_sound`.
    """
    require_sound(results)
    kinds = [kind.value for kind in Kind if any(row.kind == kind.value for row in results.rows)]
    kinds = kinds if len(kinds) > 1 else []
    groups = results.groups if len(results.groups) > 1 else ()
    places = [(ALL, ALL), *((kind, ALL) for kind in kinds), *((ALL, group) for group in groups)]
    return Tables(tuple(_block(results, *place, correct, seed) for place in places), correct)


def _block(results: Results, kind: str, group: str, correct: bool, seed: int) -> Block:
    rows = [row for row in results.rows if kind in (ALL, row.kind) and group in (ALL, row.group)]
    by_system = {system: [row for row in rows if row.system == system] for system in results.systems}
    pooled = {
        system: results.pooled.get(system, {}).get(group, {}) if kind == ALL else {}
        for system in results.systems
    }
    cells: dict[str, dict[str, Cell]] = {system: {} for system in results.systems}
    task = {system: _of_the_task(own) if kind == ALL else own for system, own in by_system.items()}
    for metric in results.metrics:
        chosen = task if Kind.cross in metric.kinds else by_system
        taken = {system: taken_values(metric, chosen[system]) for system in results.systems}
        first = taken[results.systems[0]]
        for system in results.systems:
            if metric.key in pooled[system]:
                cells[system][metric.key] = Cell(pooled[system][metric.key])
            elif taken[system]:
                found = estimate(list(taken[system].values()), seed=seed)
                against = None if system == results.systems[0] else _pairs(first, taken[system], metric)
                off = _off(metric, taken[system].values())
                cells[system][metric.key] = Cell(found.mean, found.interval, found.count, against, off)
        _mark_best(cells, metric)
    if correct:
        for own in cells.values():
            _adjust(own)
    clips = len({clip_key(row) for own in task.values() for row in own})
    return Block(kind, group, clips, cells, {system: rate(task[system]) for system in results.systems})


def _of_the_task(rows: list[Row]) -> list[Row]:
    """Without the rows in which copying the input is right, where there are others.

    A video's own words (and the way back to them) would lift every system that leaves the mouth alone.
    """
    if all(row.kind != Kind.cross.value for row in rows):
        return rows
    return [row for row in rows if row.kind not in (Kind.self.value, Kind.cycle.value)]


def taken_values(metric: Metric, rows: Iterable[Row]) -> dict[tuple[str, str, str], float]:
    """A metric's values by clip, of the rows that it is meant for and was taken from."""
    return {
        clip_key(row): row.values[metric.key]
        for row in rows
        if Kind(row.kind) in metric.kinds and metric.key in row.values
    }


def _pairs(
    first: dict[tuple[str, str, str], float], other: dict[tuple[str, str, str], float], metric: Metric
) -> Comparison | None:
    both = [key for key in first if key in other]
    return compare([first[key] for key in both], [other[key] for key in both], metric.better)


def _off(metric: Metric, values: Iterable[float]) -> float | None:
    if metric.better not in (Better.zero, Better.one):
        return None
    distances = [badness(value, metric.better) for value in values]
    return math.fsum(distances) / len(distances)


def _score(cell: Cell, metric: Metric) -> float:
    return badness(cell.value, metric.better) if cell.off is None else cell.off


def _mark_best(cells: dict[str, dict[str, Cell]], metric: Metric) -> None:
    owners = [own for own in cells.values() if metric.key in own]
    if metric.better is Better.none or len(owners) < 2:
        return
    scores = [_score(own[metric.key], metric) for own in owners]
    for own, score in zip(owners, scores, strict=True):
        own[metric.key] = replace(own[metric.key], best=score == min(scores))


def _adjust(own: dict[str, Cell]) -> None:
    tested = [(key, cell.against) for key, cell in own.items() if cell.against is not None]
    adjusted = holm([test.p for _, test in tested])
    for (key, test), p in zip(tested, adjusted, strict=True):
        own[key] = replace(own[key], against=replace(test, p=p))
