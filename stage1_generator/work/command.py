"""What every command of stage 1 shares: options, one writer per work folder, progress, errors for users."""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from common.command import run_configured
from common.files import remove_partial, require_writable_dir
from common.progress import format_duration
from stage1_generator.config import Stage1Config, check
from stage1_generator.work.timing import write_timing

T = TypeVar("T")
R = TypeVar("R")

Body = Callable[[Stage1Config], None]


def run_command(
    name: str,
    about: str,
    run: Body,
    dry_run: Body,
    argv: Sequence[str] | None = None,
    lock: bool = True,
    show_timesteps: Callable[[Stage1Config], str] | None = None,
) -> int:
    """Parse the command line, run one step, and turn a UserError into one line and exit code 2.

    Args:
        run: does the work; called while this process is the only one that writes to the work folder.
        dry_run: prints what `run` would do, and writes nothing.
        lock: False for commands that only read.
        show_timesteps: of the training alone.
    """

    def body(config: Stage1Config, dry: bool) -> None:
        check(config)
        if dry:
            dry_run(config)
        elif lock:
            with sole_writer(Path(config.work)):
                run(config)
        else:
            run(config)

    prog = f"python -m stage1_generator.{name}"
    return run_configured(
        Stage1Config, body, prog=prog, description=about, argv=argv, show_timesteps=show_timesteps
    )


@contextmanager
def sole_writer(work: Path) -> Iterator[None]:
    """Hold the work folder's lock; wait while another command holds it.

    A run that was started again after its parent was killed may meet the orphan of the first run: the two
    must not remove each other's temporary files. The kernel drops the lock with the process, however it ends.
    """
    require_writable_dir(work)
    with (work / ".lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{work}: another stage-1 command is writing here, waiting for it", file=sys.stderr)
            fcntl.flock(handle, fcntl.LOCK_EX)
        remove_partial(work)
        yield


class Progress:
    """Lines with a count, a rate in frames and the time left; at most one every few seconds.

    Args:
        what: name of the step.
        total: items in all; each `step` is one.
    """

    def __init__(self, what: str, total: int, every: float = 5.0) -> None:
        self.what, self.total, self.every = what, total, every
        self.done = 0
        self.frames = 0
        self._start = self._last = time.monotonic()

    def step(self, frames: int, items: int = 1) -> None:
        """Count items as done; `frames` are those that were worked on now, 0 for items found done."""
        self.done += items
        self.frames += frames
        now = time.monotonic()
        if now - self._last >= self.every or self.done == self.total:
            self._last = now
            print(self.line(now - self._start), file=sys.stderr, flush=True)

    def line(self, elapsed: float) -> str:
        left = elapsed / max(self.done, 1) * (self.total - self.done)
        rate = self.frames / max(elapsed, 1e-6)
        text = f"{self.what}: {self.done}/{self.total}, {rate:.1f} frames/s"
        return f"{text}, {format_duration(left)} left" if self.done < self.total else f"{text}, done"

    def finish(self, work: Path) -> None:
        """Note the time for the report, unless everything was found done."""
        if self.frames:
            write_timing(work, self.what, time.monotonic() - self._start, self.frames)


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
