"""Work in threads: one step ahead, or many jobs at once."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


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
