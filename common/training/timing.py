"""Where a training step's time goes, without stopping the device to find out."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import torch

PARTS = ("data", "forward", "backward", "optimizer")


class StepTimer:
    """Adds up the seconds between marks.

    On a CUDA device a mark is an event in the stream, so a part lasts from the end of the device's work
    before it to the end of its own: ``data`` is the time the device stood idle for data, copying included,
    and not the time that Python waited while the device was still busy. Elsewhere marks are read off the
    clock. Events are read once they have passed; only :meth:`drain` waits, for the last one.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._last: Any = None
        self._open: deque[tuple[str, Any, Any]] = deque()
        self._seconds: dict[str, float] = {}

    def start(self) -> None:
        """Begin a step. The time since the last mark belongs to nothing: saving, for example."""
        self._last = self._mark()
        while self._open and self._open[0][2].query():
            self._close()

    def lap(self, part: str) -> None:
        """The time since the last mark belongs to ``part``."""
        now = self._mark()
        if self._cuda:
            self._open.append((part, self._last, now))
        else:
            self._seconds[part] = self._seconds.get(part, 0.0) + now - self._last
        self._last = now

    def drain(self) -> dict[str, float]:
        """Seconds by part since the last call; starts anew."""
        if self._open:
            self._open[-1][2].synchronize()
        while self._open:
            self._close()
        seconds, self._seconds = self._seconds, {}
        return seconds

    def _mark(self) -> Any:
        if not self._cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _close(self) -> None:
        part, begin, end = self._open.popleft()
        self._seconds[part] = self._seconds.get(part, 0.0) + begin.elapsed_time(end) / 1000
