"""What ``docker build .`` sees of the repository: the files that .dockerignore leaves."""

from __future__ import annotations

import shutil
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PATTERNS = (ROOT / ".dockerignore").read_text("utf-8").split()


def in_context(path: Path) -> bool:
    """Whether a path below the root is seen: the last pattern decides that it, or a folder above it, fits."""
    seen = True
    for pattern in PATTERNS:
        name = pattern.removeprefix("!")
        parts = [path, *path.parents]
        if any(
            fnmatch(part.name if "**/" in name else str(part), name.removeprefix("**/")) for part in parts
        ):
            seen = pattern.startswith("!")
    return seen


def copy_context(folder: Path) -> Path:
    """All that is seen, in ``folder``."""
    for pattern in PATTERNS:
        if not pattern.startswith("!"):
            continue
        source, target = ROOT / pattern[1:], folder / pattern[1:]
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_file():
            shutil.copyfile(source, target)
        else:
            shutil.copytree(source, target, ignore=_hidden)
    return folder


def _hidden(folder: str, names: list[str]) -> list[str]:
    place = Path(folder).relative_to(ROOT)
    return [name for name in names if not in_context(place / name)]
