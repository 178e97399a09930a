"""What the steps share: each is a command that takes folders, and packages are copied with few new files."""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from common.command import exit_code_of


def run_with_folders(
    module: str, about: str | None, work: Callable[..., None], argv: Sequence[str] | None, **folders: str
) -> int:
    """Call ``work`` with the folders that the command line names, and return the exit code.

    Args:
        module: of the step, as it is called.
        about: what it does, for ``--help``.
        argv: the words; None: those of the process.
        folders: option, a parameter of ``work`` -> what it is.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=about)
    for option, meaning in folders.items():
        parser.add_argument(f"--{option}", type=Path, required=True, help=meaning)
    given = parser.parse_args(argv)
    return exit_code_of(lambda: work(**vars(given)))


def linked_copy(folder: Path, output: Path, leave: str) -> None:
    """All of a folder into another that exists, but what is named ``leave``; hard links where they can be."""
    ignore = shutil.ignore_patterns(leave)
    shutil.copytree(folder, output, copy_function=_link, dirs_exist_ok=True, ignore=ignore)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)
