"""What the command line shows while it works: progress with rate and time left."""

from __future__ import annotations

import time
from threading import RLock
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

_LINE_SECONDS = 10.0


class _Rate(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if not speed else f"{speed:.2g} {self._unit}/s", style="dim")


class ConsoleProgress:
    """Shows a job's stages on stderr: bars on a terminal, a line every ten seconds in a log.

    An instance is what :class:`stage2_dubber.dub.pipeline.DubPipeline` takes as ``progress``: it is called
    with the stage's name, the frames done (fractions of a window count) and the frames in all, or None
    where that is not known. ``unit``: what is counted. It is a context manager, and what it is told before
    it is entered shows then: an error in the meantime stands alone.
    """

    def __init__(self, console: Console | None = None, unit: str = "frames") -> None:
        self.console = console or Console(stderr=True)
        self.unit = unit
        self._bars: Progress | None = None
        if self.console.is_terminal:
            self._bars = Progress(
                TextColumn("{task.description:<14}"),
                BarColumn(bar_width=30),
                TextColumn(f"{{task.completed:.0f}}/{{task.total:.0f}} {unit}"),
                _Rate(unit),
                TimeRemainingColumn(elapsed_when_finished=True),
                console=self.console,
            )
        self._tasks: dict[str, TaskID] = {}
        self._started: dict[str, float] = {}
        self._first: dict[str, float] = {}  # what was done already: a job may go on from its middle
        self._shown: dict[str, float] = {}
        self._finished: set[str] = set()
        self._entered = False
        self._lock = RLock()  # several threads may tell
        self._early: dict[str, tuple[float, float | None]] = {}

    def __enter__(self) -> ConsoleProgress:
        if self._bars:
            self._bars.start()
        with self._lock:
            self._entered = True
            for stage, (done, total) in self._early.items():
                self(stage, done, total)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars:
            self._bars.stop()

    def __call__(self, stage: str, done: float, total: float | None) -> None:
        with self._lock:
            self._first.setdefault(stage, done)
            if self._entered:
                self._show(stage, done, total)
            else:
                self._started.setdefault(stage, time.monotonic())
                self._early[stage] = (done, total)

    def _show(self, stage: str, done: float, total: float | None) -> None:
        if self._bars:
            if stage not in self._tasks:
                self._tasks[stage] = self._bars.add_task(stage, total=max(total or 0, done, 1))
            # A container's frame count may be an estimate: never show more done than there is.
            self._bars.update(self._tasks[stage], completed=done, total=max(total or 0, done, 1))
        else:
            self._log(stage, done, total)

    def _log(self, stage: str, done: float, total: float | None) -> None:
        now = time.monotonic()
        started = self._started.setdefault(stage, now)
        finished = total is not None and done >= total
        due = now - self._shown.setdefault(stage, now) >= _LINE_SECONDS
        if stage in self._finished or not (finished or due):
            return
        self._shown[stage] = now
        if finished:
            self._finished.add(stage)
        text = f"{stage}: {done:.0f}" + (f"/{total:.0f}" if total else "") + f" {self.unit}"
        if now > started and done > self._first[stage]:
            rate = (done - self._first[stage]) / (now - started)
            text += f", {rate:.2g} {self.unit}/s"
            if total and not finished:
                text += f", {(total - done) / rate:.0f} s left"
        self.console.print(text, highlight=False, soft_wrap=True)
