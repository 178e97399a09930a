"""One job as a service keeps it."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from enum import Enum
from typing import Any


class JobState(str, Enum):
    """Where a job stands; all but the last by sync.so's names."""

    pending = "PENDING"
    processing = "PROCESSING"
    completed = "COMPLETED"
    failed = "FAILED"
    rejected = "REJECTED"
    canceled = "CANCELED"

    @property
    def ended(self) -> bool:
        """Whether nothing will happen any more."""
        return self not in (JobState.pending, JobState.processing)


class StopReason(str, Enum):
    """Why a job is ended before it is done."""

    canceled = "canceled"
    timed_out = "timed_out"


@dataclass(frozen=True)
class StoredJob:
    """One job.

    Attributes:
        id: 32 hex digits.
        owner: name of the key that asked for it; empty where no keys are in use.
        created, started, ended: seconds since 1970; ``started``: of the newest attempt.
        state: where it stands.
        asked: what is asked for, plain JSON.
        webhook: where its end is told.
        attempts: how often a worker has begun with it and not put it back.
        stop: why it is to be ended; None: it is not.
        pid: of the worker that does it, or did.
        stage_began: seconds since 1970.
        stage, done, total: progress, as :data:`common.progress.ProgressCallback` tells it.
        error, code: why it has no result: a sentence and a word for programs.
        result: what its worker says of it, plain JSON.
        tries: how often its webhook was called.
    """

    id: str
    owner: str
    created: float
    state: JobState
    asked: dict[str, Any]
    webhook: str | None
    attempts: int
    stop: StopReason | None
    pid: int | None
    started: float | None
    ended: float | None
    stage: str | None
    stage_began: float | None
    done: float | None
    total: float | None
    error: str | None
    code: str | None
    result: dict[str, Any] | None
    tries: int


def job_of(row: sqlite3.Row) -> StoredJob:
    """The job in a row of the table."""
    values = dict(row)
    del values["next_try"]
    values["state"] = JobState(values["state"])
    values["stop"] = None if values["stop"] is None else StopReason(values["stop"])
    values["asked"] = json.loads(values["asked"])
    values["result"] = None if values["result"] is None else json.loads(values["result"])
    return StoredJob(**values)
