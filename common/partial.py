"""Temporary files and folders that are locked by their owner, so that those of killed owners can be told.

Those that another process is to go on with (:func:`kept_dir`) stay, until nobody has touched them for
:data:`KEPT_DAYS`.

The lock is the kernel's (``flock``): it ends with the process, however that ends, and holds between
containers that share a folder. Names hold the owner's process number as well: some libraries (safetensors)
put another, unlocked file in the place of the one that they are given. File systems without locks are left
alone.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path

PREFIX = ".part-"
"""What every half-written file's name begins with. The leading dot: listings and globs for finished files
pass over it."""

KEPT_DAYS = 30

_OWNED = f"{PREFIX}bootdub-"
_KEPT = f"{_OWNED}job-"
_NAMED = re.compile(re.escape(_OWNED) + r"(\d+)-[a-z0-9_]{8}(\.[^.]*)?")
_mine: set[str] = set()
"""Names that this process uses."""


@contextmanager
def owned_file(folder: Path, suffix: str) -> Iterator[Path]:
    """Yield a new empty file in ``folder``; it is removed at the end unless it was renamed before.

    Before the first one in a folder, those whose owners were killed are removed.
    """
    made = partial(tempfile.mkstemp, suffix=suffix)
    with _owned(folder, made, lambda path: path.unlink(missing_ok=True)) as path:
        yield path


@contextmanager
def owned_dir(folder: Path) -> Iterator[Path]:
    """The same with an empty folder in ``folder``."""

    def made(prefix: str, dir: Path) -> tuple[int, str]:
        name = tempfile.mkdtemp(prefix=prefix, dir=dir)
        return os.open(name, os.O_RDONLY), name

    with _owned(folder, made, partial(shutil.rmtree, ignore_errors=True)) as path:
        yield path


def kept_path(folder: Path, name: str) -> Path:
    """Where the folder lies in ``folder`` that :func:`kept_dir` is to open for a job of this ``name``."""
    return folder / f"{_KEPT}{name}"


@contextmanager
def kept_dir(path: Path) -> Iterator[Path]:
    """Hold a folder (:func:`kept_path`), new or as another process left it, for this process alone.

    It stays at the end unless it was removed meanwhile.

    Raises:
        BlockingIOError: another process holds it.
    """
    _clear_once(path.parent.resolve())
    while True:
        path.mkdir(exist_ok=True)
        descriptor = os.open(path, os.O_RDONLY)
        try:
            if _locked(descriptor, str(path), fcntl.LOCK_NB):
                break
        except BlockingIOError:
            os.close(descriptor)
            raise
        os.close(descriptor)
    try:
        yield path
    finally:
        os.close(descriptor)


@contextmanager
def _owned(
    folder: Path, make: Callable[..., tuple[int, str]], remove: Callable[[Path], object]
) -> Iterator[Path]:
    """Yield the path of what ``make(prefix=, dir=)`` makes and opens in ``folder``.

    It is locked, and removed at the end.
    """
    folder = folder.resolve()
    _clear_once(folder)
    while True:
        descriptor, name = make(prefix=_prefix(), dir=folder)
        if _locked(descriptor, name):
            break
        os.close(descriptor)
    _mine.add(name)
    try:
        yield Path(name)
    finally:
        remove(Path(name))
        _mine.discard(name)
        os.close(descriptor)


def clear_abandoned(folder: Path) -> None:
    """Remove the temporary files and folders of killed owners in ``folder``; what is in use stays."""
    for path in folder.resolve().glob(f"{_OWNED}*"):
        if path.is_symlink() or not (_is_killed(path) or _is_forgotten(path)):
            continue
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except OSError:  # gone meanwhile, or somebody else's
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Removed while it is locked: whoever is just making it sees that it is gone, and makes another.
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        except OSError:  # in use, or a file system without locks
            continue
        finally:
            os.close(descriptor)


def _is_killed(path: Path) -> bool:
    """Whether it is the temporary path of a process that is no more."""
    named = _NAMED.fullmatch(path.name)
    return named is not None and not _alive(int(named[1]), path)


def _is_forgotten(path: Path) -> bool:
    """Whether it is a kept folder with which nobody goes on."""
    try:
        return path.name.startswith(_KEPT) and time.time() - path.stat().st_mtime > KEPT_DAYS * 86_400
    except OSError:  # gone meanwhile
        return False


def _prefix() -> str:
    return f"{_OWNED}{os.getpid()}-"


def _alive(owner: int, path: Path) -> bool:
    if owner == os.getpid():
        # In a container the process before may have had the same number.
        return str(path) in _mine
    try:
        os.kill(owner, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


@lru_cache(maxsize=256)
def _clear_once(folder: Path) -> None:
    """Once per folder and process: folders of shards and caches hold many thousand files."""
    clear_abandoned(folder)


def _locked(descriptor: int, name: str, flags: int = 0) -> bool:
    """Lock a file or folder; False where somebody has removed it before that.

    Raises:
        BlockingIOError: with ``LOCK_NB``, another one holds it.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | flags)
    except BlockingIOError:
        raise
    except OSError:  # a file system without locks: nobody can clear there either
        return True
    try:
        return os.path.samestat(os.fstat(descriptor), Path(name).stat())
    except FileNotFoundError:
        return False
