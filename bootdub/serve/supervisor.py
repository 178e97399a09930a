"""Keeps a bounded number of workers alive, stops them where a job is to end, and removes old jobs."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Collection
from multiprocessing.context import SpawnProcess

from bootdub.serve.record import JobState, StopReason
from bootdub.serve.rounds import Rounds
from bootdub.serve.settings import ServeSettings
from bootdub.serve.store import JobStore

_ROUND_SECONDS = 0.5
_GRACE_SECONDS = 10.0
_CLEAR_SECONDS = 60.0
_MOST_PAUSE = 60.0

log = logging.getLogger("bootdub.serve")


class Supervisor:
    """Starts processes that run ``work(settings)`` and starts others where they end.

    Args:
        settings: of the service; ``workers`` processes run.
        store: their jobs.
        work: a function of a module, which :func:`bootdub.serve.worker.do_jobs` ends.
    """

    def __init__(
        self, settings: ServeSettings, store: JobStore, work: Callable[[ServeSettings], object]
    ) -> None:
        self._settings, self._store, self._work = settings, store, work
        self._context = multiprocessing.get_context("spawn")
        self._workers = [_Worker() for _ in range(settings.workers)]
        self._rounds = Rounds(_ROUND_SECONDS, self._round)
        self._told_to_stop: dict[tuple[int, str], float] = {}
        self._cleared = 0.0

    def start(self) -> None:
        """Begin."""
        self._rounds.start()

    def stop(self) -> None:
        """Stop all workers; jobs in hand go back to the queue. Returns when all have ended."""
        self._rounds.stop()
        alive = [worker.process for worker in self._workers if worker.process is not None]
        for process in alive:
            process.terminate()
        end = time.monotonic() + _GRACE_SECONDS
        for process in alive:
            process.join(max(0.0, end - time.monotonic()))
            if process.exitcode is None:
                process.kill()
                process.join()

    @property
    def pids(self) -> list[int]:
        """Of the workers that run."""
        return [worker.pid for worker in self._workers if worker.pid is not None]

    def _round(self) -> None:
        processing = self._store.jobs(states=[JobState.processing])
        at_work = {job.pid for job in processing}
        for worker in self._workers:
            worker.keep_alive(
                lambda: self._context.Process(target=self._work, args=(self._settings,)), at_work
            )
        for job in processing:
            if job.stop is None and job.started is not None:
                if time.time() - job.started > self._settings.minutes * 60:
                    self._store.stop(job.id, StopReason.timed_out)
            elif job.stop is not None and job.pid in self.pids:
                self._stop_worker(job.pid, job.id)
        now = time.monotonic()
        if now - self._cleared > _CLEAR_SECONDS:
            self._cleared = now
            self._store.clear(time.time() - self._settings.keep_hours * 3600)

    def _stop_worker(self, pid: int, id: str) -> None:
        """First by a signal that it can follow, then by one that it cannot."""
        began = self._told_to_stop.get((pid, id))
        if began is None:
            self._told_to_stop[pid, id] = time.monotonic()
            _signal(pid, signal.SIGTERM)
        elif time.monotonic() - began > _GRACE_SECONDS:
            _signal(pid, signal.SIGKILL)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


class _Worker:
    """One place for a worker. Where workers end before they have begun with a job, as for want of memory, the
    next ones are started more and more slowly.
    """

    def __init__(self) -> None:
        self.process: SpawnProcess | None = None
        self._due = self._pause = 0.0

    @property
    def pid(self) -> int | None:
        """Of the process, while it runs."""
        return self.process.pid if self.process is not None and self.process.exitcode is None else None

    def keep_alive(self, make: Callable[[], SpawnProcess], at_work: Collection[int | None]) -> None:
        """Start a process where none runs; ``at_work``: numbers of those that have a job, or died at it."""
        if self.pid is not None:
            return
        if self.process is not None:
            ended, self.process = self.process, None
            log.warning("worker %s ended with %s", ended.pid, ended.exitcode)
            idle = ended.exitcode != 0 and ended.pid not in at_work
            self._pause = min(_MOST_PAUSE, max(1.0, 2 * self._pause)) if idle else 0.0
            self._due = time.monotonic() + self._pause
        if time.monotonic() >= self._due:
            self.process = make()
            self.process.start()
