"""From what a user writes to a system."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.models.package import METADATA_FILE, read_info
from evaluation.systems.base import System
from evaluation.systems.given import CopySystem, FolderSystem

COPY = "copy"


def build_systems(texts: Sequence[str], device: str = "cpu", **sampling: Any) -> list[System]:
    """One system per text; see :func:`build_system`.

    Raises:
        UserError: as there, or two systems have one name.
    """
    systems = [build_system(text, device, **sampling) for text in texts]
    names = [system.name for system in systems]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"Two systems are called '{name}': name them, as in --system other={name}.")
    return systems


def build_system(text: str, device: str = "cpu", **sampling: Any) -> System:
    """``[NAME=]WHAT``.

    WHAT is ``copy`` (the untouched input), the folder of a model package of either stage, or a folder of
    videos that another program has made.

    Args:
        sampling: num_steps, audio_scale, reference_scale for stage 2; None: the package's own.

    Raises:
        UserError: there is nothing of that kind.
    """
    name, separator, what = text.rpartition("=")
    if separator and not name:
        raise UserError(f"The system '{text}' has an empty name: write NAME=FOLDER.")
    if what == COPY:
        system = CopySystem()
        system.name = name or system.name
        return system
    folder = Path(what)
    name = _safe(name or folder.name)
    if not (folder / METADATA_FILE).is_file():
        return FolderSystem(name, folder)
    # Networks are imported only where they are used.
    if read_info(folder).stage == 1:
        from evaluation.systems.generator import GeneratorSystem

        return GeneratorSystem(name, folder, device)
    from evaluation.systems.editor import EditorSystem

    return EditorSystem(name, folder, device, **sampling)


def _safe(name: str) -> str:
    if not name or "/" in name or "\\" in name or name.startswith(".") or not name.isprintable():
        raise UserError(f"The system name '{name}' cannot be the name of a folder: write NAME=FOLDER.")
    return name
