"""Open shards, so that reading a shard from end to end opens it once."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from common.errors import UserError


class ShardHandles:
    """Descriptors of the shards that were read last, at most ``limit`` of them.

    Reads carry their own offset, so that threads and forked loader workers do not disturb each other. Pickled
    copies begin with nothing open.
    """

    def __init__(self, limit: int = 64) -> None:
        self.limit = limit
        self._open: OrderedDict[Path, _Descriptor] = OrderedDict()

    def __reduce__(self) -> tuple[type[ShardHandles], tuple[int]]:
        return ShardHandles, (self.limit,)

    def __len__(self) -> int:
        return len(self._open)

    def read(self, path: Path, offset: int, size: int) -> bytes:
        """``size`` bytes at ``offset``. Raises UserError where the file ends before."""
        handle = self._open.pop(path, None) or _Descriptor(path)
        self._open[path] = handle
        while len(self._open) > self.limit:
            self._open.popitem(last=False)
        parts, left = [], size
        # One call reads at most 2 GiB.
        while left and (part := os.pread(handle.number, left, offset + size - left)):
            parts.append(part)
            left -= len(part)
        if left:
            raise UserError(f"The shard '{path}' is cut short: make the shards again.")
        return parts[0] if len(parts) == 1 else b"".join(parts)


class _Descriptor:
    """A file descriptor, closed with its last reference: threads that still read from it keep it open."""

    def __init__(self, path: Path) -> None:
        self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        # Bound while modules are whole: when the interpreter ends, ``os`` may be gone before this is.
        if hasattr(self, "number"):
            close(self.number)
