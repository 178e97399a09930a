"""The jobs of a service in SQLite: whole after a kill, and shared by the processes that take and do them.

Who does a job holds a lock on a file in its folder, which the kernel drops with the process. A job that is
marked as being done and whose lock is free was left by a killed worker: the next one goes on with it.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sqlite3
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bootdub.serve.database import Database
from bootdub.serve.record import JobState, StopReason, StoredJob, job_of
from common.files import require_writable_dir

_JOBS, _LOCK = "jobs", "lock"


class QueueFull(Exception):
    """As many jobs wait as may."""


class JobStore:
    """Jobs and keys in a folder, which is made when it is missing.

    Args:
        folder: of the database and of a folder per job, for this service alone.
        attempts: how often a job is begun whose workers die of it.

    Raises:
        UserError: the folder cannot be written, or its file system keeps no such database.
    """

    def __init__(self, folder: Path, attempts: int = 5) -> None:
        self.folder = require_writable_dir(folder)
        self.attempts = attempts
        (folder / _JOBS).mkdir(exist_ok=True)
        self.database = Database(folder / "jobs.sqlite")

    def job_folder(self, id: str) -> Path:
        """Where the files of a job lie."""
        return self.folder / _JOBS / id

    def new_folder(self) -> str:
        """Make the folder of a job to come, for its inputs; its id is returned."""
        id = uuid.uuid4().hex
        self.job_folder(id).mkdir(mode=0o700)
        return id

    def add(
        self, asked: dict[str, Any], owner: str = "", webhook: str | None = None, *, id: str, most: int
    ) -> StoredJob:
        """Put a job at the end of the queue.

        Args:
            asked: what is asked for, plain JSON.
            owner, webhook: as of :class:`StoredJob`.
            id: of :meth:`new_folder`.
            most: how many jobs may wait.

        Raises:
            QueueFull: so many do.
        """
        with self.database.writing() as database:
            if _waiting(database) >= most:
                raise QueueFull
            database.execute(
                "INSERT INTO jobs (id, owner, created, state, asked, webhook) VALUES (?, ?, ?, ?, ?, ?)",
                (id, owner, time.time(), JobState.pending.value, json.dumps(asked), webhook),
            )
        return self.get(id, owner)

    def get(self, id: str, owner: str | None = None) -> StoredJob:
        """A job; None as ``owner``: anybody's.

        Raises:
            KeyError: there is none, or it is another owner's.
        """
        with self.database.reading() as database:
            row = database.execute("SELECT * FROM jobs WHERE id = ?", (id,)).fetchone()
        if row is None or owner not in (None, row["owner"]):
            raise KeyError(id)
        return job_of(row)

    def jobs(
        self, owner: str | None = None, states: Sequence[JobState] = (), most: int = 1000
    ) -> list[StoredJob]:
        """The newest jobs first; no ``states``: in all."""
        wanted = [state.value for state in states or JobState]
        marks = ", ".join("?" * len(wanted))
        with self.database.reading() as database:
            rows = database.execute(
                f"SELECT * FROM jobs WHERE state IN ({marks}) AND ? IN ('', owner) "
                "ORDER BY created DESC, rowid DESC LIMIT ?",
                (*wanted, owner or "", most),
            ).fetchall()
        return [job_of(row) for row in rows]

    def counts(self) -> dict[JobState, int]:
        """How many jobs stand where."""
        with self.database.reading() as database:
            found = dict(database.execute("SELECT state, COUNT(*) FROM jobs GROUP BY state").fetchall())
        return {state: found.get(state.value, 0) for state in JobState}

    def totals(self) -> dict[JobState, tuple[int, float]]:
        """How many jobs have ended how, removed ones too, and the seconds of their last attempts."""
        with self.database.reading() as database:
            rows = database.execute("SELECT * FROM totals").fetchall()
        return {JobState(row["state"]): (row["jobs"], row["seconds"]) for row in rows}

    @contextmanager
    def claim(self) -> Iterator[StoredJob | None]:
        """The oldest job that waits or was left by a killed worker, for this process until the end of the
        context; None where there is none.

        Jobs that were left and are to be ended, or have killed too many workers, are ended here.
        """
        with self.database.writing() as database:
            claimed, lock = self._first_free(database)
        try:
            yield claimed
        finally:
            if lock is not None:
                os.close(lock)

    def _first_free(self, database: sqlite3.Connection) -> tuple[StoredJob | None, int | None]:
        rows = database.execute(
            "SELECT id FROM jobs WHERE state IN ('PENDING', 'PROCESSING') ORDER BY created, rowid"
        ).fetchall()
        for row in rows:
            job = job_of(database.execute("SELECT * FROM jobs WHERE id = ?", (row["id"],)).fetchone())
            lock = self._locked(job.id)
            if lock is None:
                continue
            if job.stop is not None:
                _stopped(database, job.id, job.stop)
            elif job.attempts >= self.attempts:
                sentence = f"{job.attempts} workers have died of this job: give another file."
                _end(database, job.id, JobState.failed, sentence, "worker_died")
            else:
                now = time.time()
                database.execute(
                    "UPDATE jobs SET state = ?, attempts = attempts + 1, pid = ?, started = ? WHERE id = ?",
                    (JobState.processing.value, os.getpid(), now, job.id),
                )
                return job_of(database.execute("SELECT * FROM jobs WHERE id = ?", (job.id,)).fetchone()), lock
            os.close(lock)
        return None, None

    def _locked(self, id: str) -> int | None:
        """The open, locked file of a job; None where another process holds it."""
        folder = self.job_folder(id)
        folder.mkdir(exist_ok=True)
        handle = os.open(folder / _LOCK, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        return handle

    def tell(self, id: str, stage: str, done: float, total: float | None) -> None:
        """Note how far a job is."""
        with self.database.writing() as database:
            database.execute(
                "UPDATE jobs SET stage_began = CASE stage WHEN ? THEN stage_began ELSE ? END, stage = ?, "
                "done = ?, total = ? WHERE id = ? AND state = 'PROCESSING'",
                (stage, time.time(), stage, done, total, id),
            )

    def finish(
        self,
        id: str,
        state: JobState,
        *,
        result: dict[str, Any] | None = None,
        error: str | None = None,
        code: str | None = None,
    ) -> None:
        """End a job that this process has claimed."""
        with self.database.writing() as database:
            _end(database, id, state, error, code, result)

    def put_back(self, id: str) -> None:
        """Let another worker go on with a claimed job, or end it where it is to be ended. Does not count as
        an attempt.
        """
        with self.database.writing() as database:
            stop = database.execute("SELECT stop FROM jobs WHERE id = ?", (id,)).fetchone()["stop"]
            if stop is not None:
                _stopped(database, id, StopReason(stop))
            database.execute(
                "UPDATE jobs SET state = 'PENDING', attempts = attempts - 1 "
                "WHERE id = ? AND state = 'PROCESSING'",
                (id,),
            )

    def stop(self, id: str, why: StopReason) -> None:
        """End a job: at once where it waits, else when its worker has been stopped."""
        with self.database.writing() as database:
            database.execute(
                "UPDATE jobs SET stop = ? WHERE id = ? AND state = 'PROCESSING'", (why.value, id)
            )
            waits = database.execute("SELECT 1 FROM jobs WHERE id = ? AND state = 'PENDING'", (id,))
            if waits.fetchone():
                _stopped(database, id, why)

    def remove(self, id: str) -> None:
        """Forget an ended job and remove its files."""
        shutil.rmtree(self.job_folder(id), ignore_errors=True)
        with self.database.writing() as database:
            database.execute("DELETE FROM jobs WHERE id = ?", (id,))

    def clear(self, before: float) -> int:
        """Remove the jobs that had ended ``before`` then, and folders that never got a job; their number."""
        with self.database.writing() as database:
            old = database.execute("SELECT id FROM jobs WHERE ended < ?", (before,)).fetchall()
            known = {row["id"] for row in database.execute("SELECT id FROM jobs").fetchall()}
        gone = [row["id"] for row in old]
        for folder in (self.folder / _JOBS).iterdir():
            if folder.name not in known and folder.stat().st_mtime < before:
                gone.append(folder.name)
        for id in gone:
            self.remove(id)
        return len(gone)

    def due_webhooks(self, most_tries: int) -> list[StoredJob]:
        """Ended jobs whose webhook is to be called now."""
        with self.database.reading() as database:
            rows = database.execute(
                "SELECT * FROM jobs WHERE webhook IS NOT NULL AND ended IS NOT NULL "
                "AND tries < ? AND next_try < ?",
                (most_tries, time.time()),
            ).fetchall()
        return [job_of(row) for row in rows]

    def called(self, id: str, next_try: float | None) -> None:
        """Note that a webhook was called; None: it was delivered."""
        with self.database.writing() as database:
            database.execute("UPDATE jobs SET tries = tries + 1, next_try = ? WHERE id = ?", (next_try, id))


def _waiting(database: sqlite3.Connection) -> int:
    return int(database.execute("SELECT COUNT(*) FROM jobs WHERE state = 'PENDING'").fetchone()[0])


def _stopped(database: sqlite3.Connection, id: str, why: StopReason) -> None:
    if why is StopReason.canceled:
        _end(database, id, JobState.canceled)
    else:
        _end(database, id, JobState.failed, "The job took too long: give a shorter video.", why.value)


def _end(
    database: sqlite3.Connection,
    id: str,
    state: JobState,
    error: str | None = None,
    code: str | None = None,
    result: dict[str, Any] | None = None,
) -> None:
    said = None if result is None else json.dumps(result)
    ended = database.execute(
        "UPDATE jobs SET state = ?, ended = ?, error = ?, code = ?, result = ?, next_try = 0 "
        "WHERE id = ? AND state IN ('PENDING', 'PROCESSING') "
        "RETURNING ended - COALESCE(started, ended) AS seconds",
        (state.value, time.time(), error, code, said, id),
    ).fetchone()
    if ended is not None:
        database.execute(
            "INSERT INTO totals VALUES (?, 1, ?) ON CONFLICT (state) "
            "DO UPDATE SET jobs = jobs + 1, seconds = totals.seconds + excluded.seconds",
            (state.value, ended["seconds"]),
        )
