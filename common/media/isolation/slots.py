"""Samples between two processes in shared memory, a slot for each message.

Over a socket copying costs as much, but its buffer holds 200 KB: a picture of 1920x1080 takes thirty turns of
both processes, which wait for each other on a busy machine. A slot is written while the other process works
on the one before, and is given back when nothing refers to its samples any more.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import weakref
from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LEAST_BYTES = 1 << 16
"""Less goes with the message itself."""
_ALIGNED = 64


def places(sizes: Sequence[int]) -> tuple[list[int], int]:
    """Where parts of these sizes (bytes) lie in a slot, and the size of all."""
    found, end = [], 0
    for size in sizes:
        found.append(end)
        end += -(-size // _ALIGNED) * _ALIGNED
    return found, end


class SlotWriter:
    """The side that writes; slots are numbered from 0."""

    def __init__(self) -> None:
        self._slots: list[mmap.mmap] = []
        self._free: set[int] = set()

    def give_back(self, numbers: Sequence[int]) -> None:
        """The other side needs these no more."""
        self._free.update(numbers)

    def write(self, parts: Sequence[NDArray[np.uint8]]) -> tuple[int, int | None]:
        """Fill a slot: its number, and a descriptor to hand over and close where it is new."""
        starts, size = places([part.nbytes for part in parts])
        number = next((i for i in self._free if len(self._slots[i]) >= size), None)
        descriptor = None
        if number is None:
            number, descriptor = len(self._slots), _shared(size)
            self._slots.append(mmap.mmap(descriptor, size))
        self._free.discard(number)
        slot = np.frombuffer(self._slots[number], np.uint8)
        for start, part in zip(starts, parts, strict=True):
            slot[start : start + part.nbytes].reshape(part.shape)[...] = part
        return number, descriptor


class SlotReader:
    """The side that reads."""

    def __init__(self) -> None:
        self._slots: dict[int, mmap.mmap] = {}
        self._left: deque[int] = deque()

    def add(self, number: int, descriptor: int) -> None:
        """Take a new slot; its descriptor is closed."""
        self._slots[number] = mmap.mmap(descriptor, 0)
        os.close(descriptor)

    def view(self, number: int) -> NDArray[np.uint8]:
        """(bytes,) of a slot; once nothing refers to it, it is among :meth:`left`."""
        root = np.frombuffer(self._slots[number], np.uint8)
        # Views of views keep this array, since it is its memory map that is of another kind.
        weakref.finalize(root, self._left.append, number).atexit = False
        return root

    def left(self) -> tuple[int, ...]:
        """Numbers that may be written again, each told once."""
        return tuple(self._left.popleft() for _ in range(len(self._left)))


def _shared(size: int) -> int:
    """A descriptor of memory that other processes can map; it goes with the last of them."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("bootdub")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size)
    return descriptor
