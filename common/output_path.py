"""Paths that users give for outputs."""

from __future__ import annotations

from pathlib import Path

from common.errors import UserError


def require_name(path: Path) -> None:
    """Refuse a path that can name no file.

    Raises:
        UserError: it is too long, or holds what no name may hold.
    """
    try:
        path.resolve().exists()
    except OSError as error:
        raise UserError(
            f"The output '{path}' is no name for a file ({error.strerror}): shorten it."
        ) from error
    except ValueError as error:
        raise UserError(f"The output '{path}' is no name for a file ({error}): give another.") from error


def same_file(path: Path, other: Path) -> bool:
    """Whether two paths, of which either may not exist yet, mean one file."""
    if path.exists() and other.exists():
        return path.samefile(other)
    return path.resolve() == other.resolve()
