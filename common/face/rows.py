"""Rows of numbers that come one by one and stay, without an object for each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_BLOCK = 1024


class Rows:
    """Grows by rows of one shape, (n, *shape).

    An hour of video has 90,000 frames; arrays of their own for each of them take twice the memory, and leave
    holes behind when they go.

    Args:
        shape: of a row.
        dtype: of its numbers.
    """

    def __init__(self, shape: tuple[int, ...], dtype: type[np.generic] = np.float32) -> None:
        self._shape, self._dtype = shape, dtype
        self._blocks: list[NDArray] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, row: NDArray | float) -> None:
        """One more row."""
        if self._count == _BLOCK * len(self._blocks):
            self._blocks.append(np.empty((_BLOCK, *self._shape), self._dtype))
        self._blocks[-1][self._count % _BLOCK] = row
        self._count += 1

    def __getitem__(self, index: int) -> NDArray:
        """A row; not to be changed."""
        if not -self._count <= index < self._count:
            raise IndexError(index)
        index %= self._count
        return self._blocks[index // _BLOCK][index % _BLOCK]

    def take(self) -> NDArray:
        """(n, *shape); the rows are gone then, block by block, so that they are never held twice."""
        taken = np.empty((self._count, *self._shape), self._dtype)
        for first in range(0, self._count, _BLOCK):
            block = self._blocks.pop(0)
            taken[first : first + _BLOCK] = block[: self._count - first]
        self._count = 0
        return taken
