"""Samples in an order that is shuffled as a whole: a pure function of the seed, with no state to save."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]


class ShuffledOrder:
    """``data.order=shuffle``: any sample may follow any other.

    The samples form one endless stream, epoch after epoch, each epoch in an order that only (seed, epoch)
    decide. Global batch k is ``stream[k * batch_size : (k + 1) * batch_size]``, so any step can be the first.

    Args:
        parts: the sample numbers of each part of the data set.
        batch_size: global batch size.
        seed: of the order.
        weights: share of each part among the draws. An epoch has as many draws as there are samples; every
            part is gone through in shuffled passes of its own. Without weights each sample comes once per
            epoch.

    Raises:
        ValueError: a part is empty, or the weights do not fit the parts.
    """

    def __init__(
        self, parts: Sequence[Numbers], batch_size: int, seed: int, weights: Sequence[float] = ()
    ) -> None:
        sizes = [len(part) for part in parts]
        if min(sizes, default=0) < 1:
            raise ValueError("every part of the data set needs at least one sample")
        if weights and (len(weights) != len(sizes) or min(weights) < 0 or sum(weights) <= 0):
            raise ValueError("weights must be one non-negative number per part, not all zero")
        self._numbers = np.concatenate(parts)
        self._batch_size, self._seed = batch_size, seed
        self._total = sum(sizes)
        # Unweighted parts are one part: the permutation then goes over everything.
        self._sizes = sizes if weights else [self._total]
        self._draws = split_draws(self._total, weights) if weights else [self._total]
        self._epoch = -1
        self._order: Numbers = np.empty(0, np.int64)

    def global_batch(self, step: int) -> list[int]:
        first = step * self._batch_size
        return [self._at(position) for position in range(first, first + self._batch_size)]

    def clip_frames(self, step: int) -> int:
        return 0

    def _at(self, position: int) -> int:
        epoch, offset = divmod(position, self._total)
        if epoch != self._epoch:
            self._order, self._epoch = self._epoch_order(epoch), epoch
        return int(self._numbers[self._order[offset]])

    def _epoch_order(self, epoch: int) -> Numbers:
        chosen = []
        first = 0
        for part, (size, draws) in enumerate(zip(self._sizes, self._draws, strict=True)):
            # Draws [epoch * draws, (epoch + 1) * draws) of the part's own endless stream of passes.
            begin, end = epoch * draws, (epoch + 1) * draws
            passes = [
                self._rng(1, part, number).permutation(size) for number in pass_numbers(begin, end, size)
            ]
            if passes:
                skip = begin - begin // size * size
                chosen.append(first + np.concatenate(passes)[skip : skip + draws])
            first += size
        order = np.concatenate(chosen)
        return order[self._rng(0, epoch).permutation(len(order))].astype(np.int64)

    def _rng(self, *path: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence([self._seed, *path])))


def pass_numbers(begin: int, end: int, size: int) -> range:
    return range(begin // size, -(-end // size)) if end > begin else range(0)


def split_draws(total: int, weights: Sequence[float]) -> list[int]:
    """``total`` draws in the ratio of ``weights``, whole numbers by largest remainder."""
    exact = np.asarray(weights, np.float64) * (total / sum(weights))
    counts = np.floor(exact).astype(int)
    for part in np.argsort(counts - exact, kind="stable")[: total - int(counts.sum())]:
        counts[part] += 1
    return [int(count) for count in counts]
