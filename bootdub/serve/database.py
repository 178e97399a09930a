"""The SQLite file of a service, which several processes use at a time and which a kill leaves whole."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.errors import UserError

_WAIT_SECONDS = 60
_TABLES = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, created REAL NOT NULL, state TEXT NOT NULL,
    asked TEXT NOT NULL, webhook TEXT, attempts INTEGER NOT NULL DEFAULT 0,
    stop TEXT, pid INTEGER, started REAL, ended REAL,
    stage TEXT, stage_began REAL, done REAL, total REAL, error TEXT, code TEXT, result TEXT,
    tries INTEGER NOT NULL DEFAULT 0, next_try REAL
);
CREATE INDEX IF NOT EXISTS by_state ON jobs (state, created);
CREATE TABLE IF NOT EXISTS totals (state TEXT PRIMARY KEY, jobs INTEGER NOT NULL, seconds REAL NOT NULL);
CREATE TABLE IF NOT EXISTS keys (name TEXT PRIMARY KEY, digest TEXT NOT NULL UNIQUE, created REAL NOT NULL);
"""


class Database:
    """The file, made where it is missing. A connection lasts for one transaction: threads share none.

    Args:
        path: of the file, on a disk of this machine.

    Raises:
        UserError: it cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            database = sqlite3.connect(path, timeout=_WAIT_SECONDS)
            # Who reads and who writes do not wait for each other.
            database.execute("PRAGMA journal_mode=WAL")
            database.executescript(_TABLES)
            database.close()
        except sqlite3.DatabaseError as error:
            raise UserError(
                f"The store of jobs '{path}' cannot be used ({error}): give another folder."
            ) from error

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction beside which nobody else writes; nothing of it stays after an error."""
        with self._transaction("BEGIN IMMEDIATE") as database:
            yield database

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A transaction that reads, as everything was at its beginning."""
        with self._transaction("BEGIN") as database:
            yield database

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        database = sqlite3.connect(self._path, timeout=_WAIT_SECONDS, isolation_level=None)
        database.row_factory = sqlite3.Row
        try:
            database.execute(begin)
            yield database
            database.execute("COMMIT")
        finally:
            database.close()
