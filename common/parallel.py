"""Work in threads: one step ahead, or many jobs at once."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from types import TracebackType
from typing import Generic, ParamSpec, TypeVar

T = TypeVar("T")
R = TypeVar("R")
P = ParamSpec("P")


def worker_count(asked: int) -> int:
    return asked if asked > 0 else (os.cpu_count() or 1)


def run_ahead(function: Callable[[T], R], jobs: Iterable[T], ahead: int = 2) -> Iterator[R]:
    """Yield function(job) in order, computed by one other thread at most `ahead` jobs in advance.

    Reading and writing pictures thus goes on while the networks compute; memory holds `ahead` results.
    """
    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting: deque[Future[R]] = deque()
        try:
            for job in jobs:
                waiting.append(pool.submit(function, job))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


class Behind(Generic[P]):
    """Calls a function in one other thread, in order; used as a context manager.

    A call returns at once while fewer than ``most`` wait, so that memory holds what so many are given.
    Leaving the context waits for all of them, or drops those that were not begun when an exception leaves it.

    Args:
        function: what is called; an exception of it is raised by a later call, or on leaving the context.
        most: calls that may wait.
    """

    def __init__(self, function: Callable[P, object], most: int) -> None:
        self._function, self._most = function, most
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._waiting: deque[Future[object]] = deque()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> None:
        self._waiting.append(self._pool.submit(self._function, *args, **kwargs))
        if len(self._waiting) > self._most:
            self._waiting.popleft().result()

    def __enter__(self) -> Behind[P]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            while kind is None and self._waiting:
                self._waiting.popleft().result()
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)


def run_parallel(function: Callable[[T], R], jobs: Sequence[T], workers: int) -> Iterator[tuple[T, R]]:
    """Yield (job, result) as jobs finish, at most `workers` at once.

    Threads: decoding, encoding, warping and detection all release the interpreter's lock. The first
    exception of a job is raised here; jobs not yet begun are dropped.
    """
    with ThreadPoolExecutor(max_workers=worker_count(workers)) as pool:
        futures = {pool.submit(function, job): job for job in jobs}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            for future in futures:
                future.cancel()
