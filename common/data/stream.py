"""The order for data that is best read from end to end: one lane through the shards per row of a batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from common.data.shuffle import pass_numbers, split_draws

Numbers = npt.NDArray[np.int64]


class StreamOrder:
    """``data.order=stream``: every row of the batch walks through a stretch of the epoch's shards.

    Per epoch the shards are shuffled, and the samples inside each shard; (seed, epoch) alone decide. The
    stream of N samples is cut into B contiguous lanes (B = global batch size), and row b of the epoch's step
    k is ``stream[b * (N // B) + k]``. The N mod B samples at the stream's end are left out, others in every
    epoch. A rank that owns some consecutive rows thus reads one contiguous part of the shards.

    Args:
        parts: for each part of the data set its shards, as arrays of sample numbers.
        batch_size: global batch size, at most N.
        seed: of the order.
        weights: share of each part among the N draws of an epoch. Every part is gone through in passes of its
            own; an epoch's stream is made of the shards, and pieces of shards at its ends, that fall to it.
            Without weights all parts are one and an epoch is one pass.
    """

    def __init__(
        self,
        parts: Sequence[Sequence[Numbers]],
        batch_size: int,
        seed: int = 0,
        weights: Sequence[float] = (),
    ) -> None:
        if weights and (len(weights) != len(parts) or min(weights) < 0 or sum(weights) <= 0):
            raise ValueError("weights must be one non-negative number per part, not all zero")
        self._parts = list(parts) if weights else [[shard for part in parts for shard in part]]
        self.num_samples = sum(len(shard) for part in self._parts for shard in part)
        if not 1 <= batch_size <= self.num_samples:
            raise ValueError(f"{self.num_samples} samples cannot be cut into {batch_size} lanes")
        self._draws = split_draws(self.num_samples, weights) if weights else [self.num_samples]
        self.batch_size, self.seed = batch_size, seed
        self.lane_length = self.num_samples // batch_size
        self._epoch = -1
        self._lanes: Numbers = np.empty((0, 0), np.int64)

    def global_batch(self, step: int) -> list[int]:
        epoch, place = divmod(step, self.lane_length)
        if epoch != self._epoch:
            used = self.lane_length * self.batch_size
            self._lanes = self._stream(epoch)[:used].reshape(self.batch_size, self.lane_length)
            self._epoch = epoch
        return [int(number) for number in self._lanes[:, place]]

    def clip_frames(self, step: int) -> int:
        return 0

    def _stream(self, epoch: int) -> Numbers:
        pieces: list[Numbers] = []
        for part, (shards, draws) in enumerate(zip(self._parts, self._draws, strict=True)):
            size = sum(len(shard) for shard in shards)
            # Draws [begin, end) of the part's own endless stream of passes.
            begin, end = epoch * draws, (epoch + 1) * draws
            for number in pass_numbers(begin, end, size):
                pieces += _cut(self._pass(part, number, shards), begin - number * size, end - number * size)
        mixed = self._rng(0, epoch).permutation(len(pieces))
        return np.concatenate([pieces[i] for i in mixed])

    def _pass(self, part: int, number: int, shards: Sequence[Numbers]) -> list[Numbers]:
        rng = self._rng(1, part, number)
        return [rng.permutation(shards[i]) for i in rng.permutation(len(shards))]

    def _rng(self, *path: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, 2, *path])))


def _cut(pieces: Sequence[Numbers], begin: int, end: int) -> list[Numbers]:
    """What lies within entries [begin, end) of the pieces' concatenation, still in pieces."""
    kept, first = [], 0
    for piece in pieces:
        inside = piece[max(begin - first, 0) : max(end - first, 0)]
        if len(inside):
            kept.append(inside)
        first += len(piece)
    return kept
