"""What the steps share: each is a command that takes folders."""

from __future__ import annotations

import argparse
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
