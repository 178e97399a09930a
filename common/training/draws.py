"""What is random in a training step: pure functions of the seed, the step and the place in the global batch.

Nothing here has state. A resumed run repeats the draws of the run that was cut off, and any number of
processes draws the same noise for the same sample: no draw depends on the rank or on what was drawn before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Sampler

from common.data.order_protocol import Order


@dataclass(frozen=True)
class Draw:
    """One row of one global batch: sample ``number`` at ``position`` of optimiser step ``step``.

    ``frames``: of the clip that is made of it; 0: ``geometry.clip_frames``.
    """

    number: int
    step: int
    position: int
    frames: int = 0

    def generator(self, seed: int, purpose: str) -> torch.Generator:
        """A CPU generator of its own for each purpose, so that a new kind of draw shifts no old one."""
        path = [seed, self.step, self.position, *purpose.encode()]
        state = np.random.SeedSequence(path).generate_state(2, np.uint32)
        return torch.Generator().manual_seed(int(state[0]) << 32 | int(state[1]))


def is_chosen(step: int, share: float, seed: int, purpose: str) -> bool:
    """Whether optimiser step ``step`` is one of the ``share`` of steps that do something; the same in all
    processes, so that none waits for another."""
    generator = Draw(0, step, 0).generator(seed, purpose)
    return float(torch.rand(1, generator=generator)) < share


class DrawSampler(Sampler[list[Draw]]):
    """Endless micro-batches of this rank: positions [rank * n, (rank + 1) * n) of each global batch."""

    def __init__(
        self,
        order: Order,
        batch_size: int,
        micro_batch_size: int,
        world: int,
        rank: int,
        start_step: int,
    ) -> None:
        """``order`` says which samples make up each global batch of ``batch_size`` rows."""
        self._order = order
        rows = batch_size // world
        self._positions = range(rank * rows, (rank + 1) * rows)
        self._micro, self._start_step = micro_batch_size, start_step

    def __iter__(self) -> Iterator[list[Draw]]:
        step = self._start_step
        while True:
            numbers, frames = self._order.global_batch(step), self._order.clip_frames(step)
            mine = [Draw(numbers[position], step, position, frames) for position in self._positions]
            for start in range(0, len(mine), self._micro):
                yield mine[start : start + self._micro]
            step += 1
