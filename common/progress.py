"""How far work is, told while it goes on."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

from common.timings import cpu_seconds, write_timing

ProgressCallback = Callable[[str, float, float | None], None]
"""Called with what is being done, how much of it is done, and how much there is in all (None: not known)."""

CountCallback = Callable[[int, int], None]
"""Called after each item of one kind of work with the items done and the items in all."""


def say_nothing(stage: str, done: float, total: float | None) -> None:
    """A :data:`ProgressCallback` for those who do not want to know."""


class StepProgress:
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
        self._cpu = cpu_seconds()

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
            seconds, cpu = time.monotonic() - self._start, cpu_seconds() - self._cpu
            write_timing(work, self.what, seconds, cpu, self.frames)


def format_duration(seconds: float) -> str:
    """``M:SS``, or ``H:MM:SS`` from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
