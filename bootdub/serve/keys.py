"""Keys of a service: shown once when they are made, kept as hashes.

A key has 256 random bits, so that a plain hash cannot be searched; slow hashes are for words that people
choose.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time

from bootdub.serve.database import Database
from common.errors import UserError

_NAME = re.compile(r"[\w.-]{1,64}")


def key_names(database: Database) -> list[str]:
    """Of the keys that are taken."""
    with database.reading() as found:
        return [row["name"] for row in found.execute("SELECT name FROM keys ORDER BY name").fetchall()]


def make_key(database: Database, name: str) -> str:
    """A new key; one of that name before it is no longer taken.

    Raises:
        UserError: no name.
    """
    if not _NAME.fullmatch(name):
        raise UserError(
            f"The key's name '{name}' is none: use letters, digits, dots, dashes and underscores."
        )
    key = "bd_" + secrets.token_urlsafe(32)
    with database.writing() as store:
        store.execute("INSERT OR REPLACE INTO keys VALUES (?, ?, ?)", (name, _digest(key), time.time()))
    return key


def drop_key(database: Database, name: str) -> None:
    """Take a key no longer.

    Raises:
        UserError: there is none of that name.
    """
    known = key_names(database)
    if name not in known:
        raise UserError(f"There is no key '{name}': there are {', '.join(known) or 'none'}.")
    with database.writing() as store:
        store.execute("DELETE FROM keys WHERE name = ?", (name,))


def owner_of(database: Database, key: str | None, open: bool) -> str | None:
    """Name of the key; None: it is not taken. ``open``: where there are no keys, everybody is "".

    Digests are looked up, not compared sign by sign: how long that takes says nothing about a key.
    """
    with database.reading() as store:
        if open and store.execute("SELECT 1 FROM keys LIMIT 1").fetchone() is None:
            return ""
        row = store.execute("SELECT name FROM keys WHERE digest = ?", (_digest(key or ""),)).fetchone()
    return None if row is None else str(row["name"])


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
