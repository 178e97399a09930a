"""Files that are whole or absent, JSON, and fingerprints."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.partial import PREFIX, owned_dir, owned_file

PathLike = str | os.PathLike[str]


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _writable_parent(path: Path) -> Path:
    if path.name in ("", ".."):
        raise UserError(f"The output path '{path}' has no file name: give the name of a file to write.")
    return require_writable_dir(path.parent)


def _default_mode(base: int) -> int:
    # tempfile creates private files; what is renamed into place should obey the user's umask instead.
    mask = os.umask(0)
    os.umask(mask)
    return base & ~mask


@contextmanager
def atomic_path(path: PathLike) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` with the same suffix; it becomes ``path`` on a clean exit.

    The temporary file is synced to disk and renamed over ``path``; on any exception it is removed and an
    older ``path`` stays untouched. Missing parent folders are created. After a kill it stays, until the next
    process that writes into the folder removes it (:mod:`common.partial`).

    Raises:
        UserError: the folder cannot be created or written, or ``path`` is a folder.
    """
    target = Path(path)
    parent = _writable_parent(target)
    if target.is_dir():
        raise UserError(f"The output path '{target}' is a folder: give the name of a file to write.")
    # Only the last suffix: the stem may be long or hold dots that mean nothing to a container.
    with owned_file(parent, target.suffix) as temporary:
        yield temporary
        temporary.chmod(_default_mode(0o666))
        _sync(temporary)
        temporary.replace(target)
        _sync(parent)


@contextmanager
def atomic_dir(path: PathLike) -> Iterator[Path]:
    """Yield an empty temporary folder beside ``path``; it becomes ``path`` on a clean exit.

    An existing folder at ``path`` is replaced as a whole: it is set aside, the new one renamed into place,
    then the old one deleted. On any exception the temporary folder is removed and the old one stays.

    Raises:
        UserError: the parent folder cannot be created or written, or ``path`` is a file.
    """
    target = Path(path)
    parent = _writable_parent(target)
    if target.exists() and not target.is_dir():
        raise UserError(f"The output folder '{target}' is a file: move it away or choose another folder.")
    with owned_dir(parent) as temporary:
        yield temporary
        publish_dir(temporary, target)


def publish_dir(temporary: Path, target: Path) -> None:
    """Sync a finished folder to disk and rename it to ``target`` beside it, in place of what lies there."""
    temporary.chmod(_default_mode(0o777))
    for entry in temporary.rglob("*"):
        if not entry.is_symlink():
            # Libraries write private files, too.
            entry.chmod(_default_mode(0o777 if entry.is_dir() else 0o666))
            _sync(entry)
    _sync(temporary)
    _swap_dir(temporary, target)
    _sync(target.parent)


def _swap_dir(new: Path, target: Path) -> None:
    """Rename ``new`` to ``target``; a folder that is already there is kept until the new one stands."""
    if not target.exists():
        new.replace(target)
        return
    aside = Path(tempfile.mkdtemp(prefix=PREFIX, dir=target.parent))
    target.replace(aside / target.name)
    try:
        new.replace(target)
    except OSError:
        (aside / target.name).replace(target)
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def remove_partial(folder: Path) -> None:
    """Delete what a killed run left half-written in ``folder``, which may be missing.

    For the only process that writes there: what another one is writing would be deleted, too.
    """
    for path in folder.glob(f"{PREFIX}*"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _plain(obj: Any) -> Any:
    """What JSON cannot say by itself: dataclasses, enums, paths, numpy scalars and arrays, sets."""
    if dataclasses.is_dataclass(obj) and not isinstance(obj, type):
        return dataclasses.asdict(obj)
    if isinstance(obj, Enum):
        return obj.value
    if isinstance(obj, os.PathLike):
        return os.fspath(obj)
    if isinstance(obj, (set, frozenset)):
        return sorted(obj)
    if hasattr(obj, "tolist"):
        return obj.tolist()
    raise TypeError(f"{type(obj).__name__} has no JSON form")


def write_json(path: PathLike, obj: Any) -> None:
    """Write ``obj`` as indented UTF-8 JSON, whole or not at all.

    Dataclasses, enums, paths, sets and numpy values are written as their plain counterparts; NaN and
    infinity are refused (``ValueError``) since JSON has no such numbers.
    """
    text = json.dumps(obj, indent=2, ensure_ascii=False, allow_nan=False, default=_plain)
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_json(path: PathLike) -> Any:
    """Parse a JSON file.

    Raises:
        UserError: missing, unreadable, or not JSON.
    """
    source = require_file(path, "JSON file")
    try:
        return json.loads(source.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        # Besides what is no JSON or no UTF-8: numbers of thousands of digits, lists in lists without end.
        raise UserError(
            f"The file '{source}' is not valid JSON ({error}): repair it or make it again."
        ) from error


def sha256_file(path: PathLike) -> str:
    """SHA-256 of a file's bytes, 64 hex digits.

    Raises:
        UserError: missing or unreadable.
    """
    digest = hashlib.sha256()
    with require_file(path, "file").open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def sampled_digest(files: Iterable[PathLike]) -> str:
    """64 hex digits from name, size and 64 samples of every file: weights take many seconds to read whole.

    Raises:
        UserError: a file is missing or unreadable.
    """
    digest = hashlib.sha256()
    for path in files:
        file = require_file(path, "file")
        size = file.stat().st_size
        digest.update(f"{file.name}:{size}\0".encode())
        with file.open("rb") as stream:
            for part in range(64):
                stream.seek(part * size // 64)
                digest.update(stream.read(1 << 16))
    return digest.hexdigest()


def fingerprint(obj: Any) -> str:
    """16 hex digits of the SHA-256 of ``obj`` as canonical JSON (sorted keys, no spaces).

    Equal content gives equal fingerprints in every process and on every machine; the order of dictionary
    keys does not matter. Accepts what :func:`write_json` accepts.
    """
    text = json.dumps(
        obj, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False, default=_plain
    )
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]


def require_file(path: PathLike, what: str = "file") -> Path:
    """Return ``path`` as a :class:`Path` when it is a readable file.

    Args:
        path: what the user named.
        what: the noun of the message, e.g. ``"video"``.

    Raises:
        UserError: missing, a folder, or not readable.
    """
    target = Path(path)
    if not _exists(target):
        raise UserError(f"The {what} '{target}' does not exist: check the path.")
    if target.is_dir():
        raise UserError(f"The {what} '{target}' is a folder: give the path of a file.")
    if not os.access(target, os.R_OK):
        raise UserError(f"The {what} '{target}' cannot be read: check its permissions.")
    return target


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is longer than any file system takes
        return False


def require_writable_dir(path: PathLike) -> Path:
    """Return ``path`` as a folder that exists and takes files; it is created when missing.

    Raises:
        UserError: it cannot be created or written, or is a file.
    """
    target = Path(path)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(
            f"The output folder '{target}' cannot be made, a file is in its place: choose another folder."
        ) from error
    except OSError as error:
        raise UserError(
            f"The output folder '{target}' cannot be created ({error.strerror}): choose another folder."
        ) from error
    # access() follows the permission bits, which lie on read-only mounts and to root: try it.
    try:
        with owned_file(target, ""):
            pass
    except OSError as error:
        raise UserError(
            f"The output folder '{target}' cannot be written ({error.strerror}): choose another folder."
        ) from error
    return target
