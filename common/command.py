"""What every configured command does around its work: read the options, and tell the user what was wrong."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from common.config import load_config
from common.config_arguments import add_config_arguments, parse_config_arguments
from common.errors import EXIT_CODE, UserError
from common.extras import told_extras
from common.work_folder import sole_writer


class WorkConfig(Protocol):
    """A root configuration of a command that writes into a work folder."""

    work: str


T = TypeVar("T")
W = TypeVar("W", bound=WorkConfig)


def run_configured(
    schema: type[T],
    body: Callable[[T, bool], None],
    *,
    description: str,
    prog: str | None = None,
    argv: Sequence[str] | None = None,
    show_timesteps: Callable[[T], str] | None = None,
) -> int:
    """Load a configuration of ``schema`` from the command line and call ``body(config, dry_run)``.

    With ``show_timesteps`` the command has an option of that name, which prints what it returns and stops.

    Returns:
        The exit code: a UserError is one line on stderr and exit code 2.
    """
    parser = argparse.ArgumentParser(prog=prog, description=description)
    add_config_arguments(parser)
    if show_timesteps is not None:
        about = "print which noise levels the training draws, and stop"
        parser.add_argument("--show-timesteps", action="store_true", help=about)

    def work() -> None:
        arguments = parse_config_arguments(parser, argv)
        config = load_config(schema, arguments.config, arguments.overrides)
        if show_timesteps is not None and arguments.show_timesteps:
            print(show_timesteps(config))
        else:
            body(config, arguments.dry_run)

    return exit_code_of(work)


def alone_in_work_folder(run: Callable[[W], None], dry_run: Callable[[W], None]) -> Callable[[W, bool], None]:
    """The body of a command whose ``run`` is to be the only writer of the folder ``config.work``."""

    def body(config: W, dry: bool) -> None:
        if dry:
            dry_run(config)
            return
        with sole_writer(Path(config.work)):
            run(config)

    return body


def exit_code_of(work: Callable[[], None]) -> int:
    """Do ``work``: 0, or what a UserError is to a command, one line on stderr and exit code 2."""
    try:
        with told_extras():
            work()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_CODE
    return 0
