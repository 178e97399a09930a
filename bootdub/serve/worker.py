"""A process that does jobs, one after another, until it is stopped."""

from __future__ import annotations

import logging
import multiprocessing.connection
import multiprocessing.process
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

from bootdub.serve.record import JobState, StoredJob
from bootdub.serve.store import JobStore
from common.errors import UserError
from common.progress import ProgressCallback

_IDLE_SECONDS = 0.25
_TELL_SECONDS = 1.0

Task = Callable[[StoredJob, ProgressCallback], dict[str, Any]]
"""Does a job and gives its result, plain JSON; raises UserError where the job's inputs are at fault."""

log = logging.getLogger("bootdub.serve")


def do_jobs(store: JobStore, task: Task) -> NoReturn:
    """Do what the store holds, and wait for more. A termination signal puts the job in hand back.

    Raises:
        SystemExit: at that signal.
    """
    _end_with_parent()
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the parent sees to it
    while True:
        with store.claim() as job:
            if job is not None:
                _do(store, job, task)
                continue
        time.sleep(_IDLE_SECONDS)


def _do(store: JobStore, job: StoredJob, task: Task) -> None:
    try:
        result = task(job, _Teller(store, job.id))
    except UserError as error:
        store.finish(job.id, JobState.rejected, error=str(error), code="invalid_input")
    except Exception:  # one job's trouble, whatever it is, must not end the others
        log.exception("job %s failed", job.id)
        sentence = f"The dub failed within the service: its log says more about job {job.id}."
        store.finish(job.id, JobState.failed, error=sentence, code="internal_error")
    except BaseException:
        store.put_back(job.id)
        raise
    else:
        store.finish(job.id, JobState.completed, result=result)


def write_log() -> None:
    """Warnings and faults on standard error, with their time, process and traceback."""
    form = "%(asctime)s %(process)d %(levelname)s %(message)s"
    logging.basicConfig(level=logging.WARNING, format=form)


class _Teller:
    """Notes progress in the store, at most once a second and where a stage begins."""

    def __init__(self, store: JobStore, id: str) -> None:
        self._store, self._id = store, id
        self._told, self._stage = 0.0, ""

    def __call__(self, stage: str, done: float, total: float | None) -> None:
        now = time.monotonic()
        if stage != self._stage or now - self._told >= _TELL_SECONDS:
            self._told, self._stage = now, stage
            self._store.tell(self._id, stage, done, total)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)


def _end_with_parent() -> None:
    """End this process when the one that has started it is killed: a new service starts workers anew."""
    parent = multiprocessing.process.parent_process()
    if parent is None:
        return

    def wait() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
