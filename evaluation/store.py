"""What is kept of each row on disk, so that a run that was cut off goes on where it was."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file, save_file

from common.errors import UserError
from common.files import atomic_path, fingerprint, read_json, sha256_file, write_json
from evaluation.manifest import Case
from evaluation.metrics.base import Features
from evaluation.results import Row
from evaluation.results_file import row_from

FORMAT = 1


class Store:
    """Files below the output folder: ``dubs/SYSTEM/ROW.mp4``, ``rows/SYSTEM/ROW.json``, ``media/...``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def dub(self, system: str, case: Case) -> Path:
        """Where a dub goes. The container is the source's where it is a common one."""
        suffix = case.video.suffix.lower()
        return self._path("dubs", system, case.name, suffix if suffix in (".mp4", ".mkv", ".mov") else ".mp4")

    def media(self, system: str, name: str, suffix: str) -> Path:
        return self._path("media", system, name, suffix)

    def relative(self, path: Path) -> str:
        """As rows name it: from the output folder where it lies there."""
        path = path.resolve()
        root = self.folder.resolve()
        return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)

    def save(self, row: Row, key: str, features: dict[str, Features]) -> None:
        """Keep a row; ``key`` says of what it was made."""
        if features:
            flat = {f"{k}/{name}": array for k, part in features.items() for name, array in part.items()}
            with atomic_path(self._path("rows", row.system, row.name, ".safetensors")) as temporary:
                save_file(flat, temporary)
        write_json(self._path("rows", row.system, row.name, ".json"), {"key": key, "row": asdict(row)})

    def load(self, system: str, name: str, key: str) -> Row | None:
        """The row that was kept, if it was made of the same things.

        Raises:
            UserError: it was written by another version.
        """
        path = self._path("rows", system, name, ".json")
        if not path.is_file():
            return None
        kept = read_json(path)
        if kept.get("key") != key:
            return None
        try:
            return row_from(kept["row"])
        except (TypeError, KeyError) as error:
            raise UserError(
                f"A kept row does not fit this version ({error}): use a new output folder."
            ) from error

    def features(self, row: Row) -> dict[str, Features]:
        """Features of pooled measures, by the measure's fingerprint."""
        path = self._path("rows", row.system, row.name, ".safetensors")
        found: dict[str, Features] = {}
        if path.is_file():
            for name, array in load_file(path).items():
                key, _, part = name.partition("/")
                found.setdefault(key, {})[part] = array
        return found

    def remember_dub(self, system: str, case: Case, key: str, facts: dict[str, Any]) -> None:
        """Note how a dub was made; written when the dub is whole."""
        write_json(self._path("dubs", system, case.name, ".json"), {"key": key, **facts})

    def known_dub(self, system: str, case: Case, key: str) -> dict[str, Any] | None:
        """The note of a dub that is there and was made of the same things."""
        path = self._path("dubs", system, case.name, ".json")
        if not path.is_file() or not self.dub(system, case).is_file():
            return None
        note = read_json(path)
        return note if isinstance(note, dict) and note.get("key") == key else None

    def _path(self, part: str, system: str, name: str, suffix: str) -> Path:
        return self.folder / part / system / f"{name}{suffix}"


class Contents:
    """Digests of input files; each is read once per run."""

    def __init__(self) -> None:
        self._known: dict[Path, str] = {}

    def of(self, path: Path) -> str:
        """SHA-256 of a file."""
        path = path.resolve()
        if path not in self._known:
            self._known[path] = sha256_file(path)
        return self._known[path]

    def of_case(self, case: Case) -> dict[str, str]:
        """SHA-256 of every file that a row names."""
        return {name: self.of(path) for name, path in case.files.items()}


def key_of(**parts: Any) -> str:
    """Fingerprint of what a file was made of."""
    return fingerprint({"format": FORMAT, **parts})
