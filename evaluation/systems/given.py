"""Systems that make nothing: the untouched input, and a folder of another program's outputs."""

from __future__ import annotations

from pathlib import Path

from common.errors import UserError
from evaluation.manifest import Case
from evaluation.systems.base import DubbedFile

SUFFIXES = (".mp4", ".mkv", ".mov", ".webm", ".m4v", ".avi")


class CopySystem:
    """The source as it is: whatever does not beat this does not dub."""

    name = "copy-input"
    fingerprint = "copy-input"

    def dub(self, case: Case, video: Path, output: Path) -> DubbedFile:
        """The source itself."""
        return DubbedFile(video)


class FolderSystem:
    """Videos that another program has made, named after the manifest's rows (``NAME.mp4``, ``.mkv`` ...).

    Probes are looked for under their own names, such as ``NAME+silence.mp4``.

    Raises:
        UserError: there is no such folder.
    """

    def __init__(self, name: str, folder: Path) -> None:
        if not folder.is_dir():
            raise UserError(f"The folder '{folder}' of system '{name}' does not exist: check the path.")
        self.name = name
        self.folder = folder
        self.fingerprint = f"folder {name}"

    def dub(self, case: Case, video: Path, output: Path) -> DubbedFile:
        """The file that is there.

        Raises:
            UserError: there is none.
        """
        for suffix in SUFFIXES:
            path = self.folder / f"{case.name}{suffix}"
            if path.is_file():
                return DubbedFile(path)
        raise UserError(f"'{self.folder}' holds no video named '{case.name}'.")
