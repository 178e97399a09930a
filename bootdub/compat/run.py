"""What the command lines have in common: from another program's words to those of ``bootdub dub``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import typer

from bootdub.cli.errors import clean_errors

_UNUSED = "unused"


def unused(parser: argparse.ArgumentParser, help: str, *names: str) -> None:
    """Add options that mean nothing to BootDub. They take any words, so that nothing else is misread.

    Args:
        parser: of the other program's command line.
        help: why they mean nothing.
        names: such as ``--batch_size``.
    """
    for name in names:
        parser.add_argument(name, nargs="*", dest=_UNUSED + name, help=f"not used: {help}")


@contextmanager
def told_in_one_sentence() -> Iterator[None]:
    """Bad input ends the process with one line and exit code 2."""
    try:
        with clean_errors():
            yield
    except typer.Exit as ended:
        raise SystemExit(ended.exit_code) from ended


def run_dub(given: argparse.Namespace, words: Sequence[str]) -> None:
    """Run ``bootdub dub`` and end the process with its exit code.

    Args:
        given: the parsed options: those of :func:`unused` are named in one line on standard error.
        words: of ``bootdub dub``. An output that exists is replaced, as these programs do.
    """
    names = sorted(name for name, value in vars(given).items() if value is not None)
    idle = [name.removeprefix(_UNUSED) for name in names if name.startswith(_UNUSED)]
    if idle:
        print(f"bootdub: without a meaning here, not used: {', '.join(idle)}", file=sys.stderr)
    from bootdub.cli.main import app

    app(["dub", *words, "--overwrite"], prog_name="bootdub")
