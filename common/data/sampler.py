"""The order in which samples are drawn: a pure function of the seed, with no state to save."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler


class StatelessSampler(Sampler[list[int]]):
    """An endless batch sampler; hand it to ``DataLoader(batch_sampler=...)``.

    The samples form one endless stream, epoch after epoch, each epoch in an order that only (seed, epoch)
    decide. Global batch k is ``stream[k * batch_size : (k + 1) * batch_size]``, so it is the same for any
    number of processes, loader workers or micro-batches, and any step can be the first. Rank r draws the
    global positions [r * n, (r + 1) * n) with n = batch_size / world.

    Args:
        num_samples: size of the data set, or the sizes of its parts (in their concatenated order).
        batch_size: global batch size.
        world: number of processes.
        rank: this process.
        seed: of the order.
        start_step: first optimiser step to draw for.
        micro_batch_size: rows of each yielded list; all of the rank's rows when 0.
        weights: share of each part among the draws. An epoch has as many draws as there are samples; every
            part is gone through in shuffled passes of its own. Without weights each sample comes once per
            epoch.
    """

    def __init__(
        self,
        num_samples: int | Sequence[int],
        batch_size: int,
        world: int = 1,
        rank: int = 0,
        seed: int = 0,
        start_step: int = 0,
        micro_batch_size: int = 0,
        weights: Sequence[float] = (),
    ) -> None:
        sizes = [num_samples] if isinstance(num_samples, int) else list(num_samples)
        if min(sizes, default=0) < 1:
            raise ValueError("every part of the data set needs at least one sample")
        if batch_size < 1 or batch_size % world or not 0 <= rank < world:
            raise ValueError(f"a batch of {batch_size} cannot be split for rank {rank} of {world}")
        rows = batch_size // world
        if micro_batch_size and rows % micro_batch_size:
            raise ValueError(f"{rows} rows per process are no multiple of the micro-batch {micro_batch_size}")
        if weights and (len(weights) != len(sizes) or min(weights) < 0 or sum(weights) <= 0):
            raise ValueError("weights must be one non-negative number per part, not all zero")
        self.batch_size, self.world, self.rank = batch_size, world, rank
        self.seed, self.start_step = seed, start_step
        self.micro_batch_size = micro_batch_size or rows
        self.num_samples = sum(sizes)
        # Unweighted parts are one part: the permutation then goes over everything.
        self._sizes = sizes if weights else [self.num_samples]
        self._draws = split_draws(self.num_samples, weights) if weights else [self.num_samples]
        self._epoch = -1
        self._order: npt.NDArray[np.int64] = np.empty(0, np.int64)

    def global_batch(self, step: int) -> list[int]:
        """Sample indices of the whole optimiser step ``step``, for all processes together."""
        first = step * self.batch_size
        return [self._at(position) for position in range(first, first + self.batch_size)]

    def __iter__(self) -> Iterator[list[int]]:
        rows = self.batch_size // self.world
        step = self.start_step
        while True:
            mine = self.global_batch(step)[self.rank * rows : (self.rank + 1) * rows]
            for start in range(0, rows, self.micro_batch_size):
                yield mine[start : start + self.micro_batch_size]
            step += 1

    def _at(self, position: int) -> int:
        epoch, offset = divmod(position, self.num_samples)
        if epoch != self._epoch:
            self._order, self._epoch = self._epoch_order(epoch), epoch
        return int(self._order[offset])

    def _epoch_order(self, epoch: int) -> npt.NDArray[np.int64]:
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
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, *path])))


def pass_numbers(begin: int, end: int, size: int) -> range:
    return range(begin // size, -(-end // size)) if end > begin else range(0)


def split_draws(total: int, weights: Sequence[float]) -> list[int]:
    """``total`` draws in the ratio of ``weights``, whole numbers by largest remainder."""
    exact = np.asarray(weights, np.float64) * (total / sum(weights))
    counts = np.floor(exact).astype(int)
    for part in np.argsort(counts - exact, kind="stable")[: total - int(counts.sum())]:
        counts[part] += 1
    return [int(count) for count in counts]
