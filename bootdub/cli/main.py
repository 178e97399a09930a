"""The ``bootdub`` command. Everything heavy is imported inside the commands, so that ``--help`` is quick."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from bootdub.cli.adapt import adapt
from bootdub.cli.batch import batch
from bootdub.cli.clips import curate, occlude
from bootdub.cli.doctor import doctor
from bootdub.cli.dub import dub, info
from bootdub.cli.evaluate import bench, evaluate
from bootdub.cli.faces import faces
from bootdub.cli.import_ltx2 import import_ltx2
from bootdub.cli.import_tbdub import import_tbdub
from bootdub.cli.import_xdub import import_xdub
from bootdub.cli.listening import make, score
from bootdub.cli.serve import serve
from bootdub.cli.spoken import prompts
from bootdub.cli.ui import ui

COMMANDS: dict[str, Callable[..., Any]] = {
    "dub": dub,
    "batch": batch,
    "serve": serve,
    "ui": ui,
    "info": info,
    "faces": faces,
    "adapt": adapt,
    "doctor": doctor,
    "import-xdub": import_xdub,
    "import-tbdub": import_tbdub,
    "import-ltx2": import_ltx2,
    "prompts": prompts,
    "evaluate": evaluate,
    "bench": bench,
    "curate": curate,
    "occlude": occlude,
}
LISTENING_COMMANDS: dict[str, Callable[..., Any]] = {"make": make, "score": score}


def _show_version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        print(f"bootdub {version('bootdub')}")
        raise typer.Exit()


def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and stop."),
    ] = False,
) -> None:
    """Visual dubbing: the lips of a video follow other speech, the rest of the picture stays."""


app = typer.Typer(
    name="bootdub", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, callback=_root
)
for _name, _command in COMMANDS.items():
    app.command(_name)(_command)
mos = typer.Typer(help="A blind listening test: make its page, score its answers.", no_args_is_help=True)
for _name, _command in LISTENING_COMMANDS.items():
    mos.command(_name)(_command)
app.add_typer(mos, name="mos")


def main() -> None:
    """Entry point of the ``bootdub`` command."""
    app(prog_name="bootdub")


if __name__ == "__main__":
    main()
