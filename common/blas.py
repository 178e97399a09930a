"""How many threads NumPy's linear algebra takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from threadpoolctl import threadpool_limits

_lock = Lock()
_blocks = 0
_limits: threadpool_limits | None = None


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Within, products and systems of NumPy and SciPy are computed on the thread that asks.

    Where threads of the program each compute small ones at the same time, those of the library wait for one
    another, and do so in a loop that takes as much of the cores as the work. The number belongs to the
    process: it is what it was when the last of all such blocks ends.
    """
    global _blocks, _limits
    with _lock:
        _blocks += 1
        if _limits is None:
            _limits = threadpool_limits(1, user_api="blas")
    try:
        yield
    finally:
        with _lock:
            _blocks -= 1
            if not _blocks and _limits is not None:
                _limits.restore_original_limits()
                _limits = None
