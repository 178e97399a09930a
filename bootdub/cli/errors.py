"""How a command ends that cannot do its work: one line on stderr and an exit code."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

import typer

from common.errors import EXIT_CODE, UserError
from common.extras import told_extras

INTERRUPTED = 130
TERMINATED = 143


@contextmanager
def clean_errors() -> Iterator[None]:
    """Turn what users cause into one line on stderr and an exit code: 2 for bad input, 130 for Ctrl-C.

    A termination signal unwinds the same way, so that unfinished files are removed, and exits with 143.
    """

    def terminate(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(TERMINATED)

    previous = signal.signal(signal.SIGTERM, terminate)
    try:
        with told_extras():
            yield
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(EXIT_CODE) from error
    except KeyboardInterrupt as error:
        print("interrupted: the output was not written", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from error
    finally:
        signal.signal(signal.SIGTERM, previous)
