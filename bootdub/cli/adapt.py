"""``bootdub adapt``: an adapter for one person."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bootdub.cli.errors import clean_errors
from bootdub.cli.options import ModelOption, require_folder
from common.errors import UserError


def adapt(
    videos: Annotated[
        Path, typer.Argument(help="Folder with film of one person: the clips to be dubbed, or others.")
    ],
    work: Annotated[Path, typer.Option(help="Everything that is made; the result is WORK/package.")],
    model: ModelOption = None,
    minutes: Annotated[
        float, typer.Option(help="Of training; the pairs take about as long as a dub.")
    ] = 10.0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything and print the commands, but run none.")
    ] = False,
) -> None:
    """Adapt an editor to one person; the package that it makes dubs like every other.

    The same command goes on after an interruption.
    """
    with clean_errors():
        from common.recipes.__main__ import main as run_recipe
        from stage2_dubber.adaptation.describe import adaptable
        from stage2_dubber.dub.locate import default_model_path

        if not minutes > 0:
            raise UserError(f"--minutes is {minutes:g}: give a number above 0.")
        require_folder(videos, "folder of film")
        folder = model or default_model_path()
        adaptable(folder)
        words = [
            "adapt",
            f"--videos={videos}",
            f"--model={folder}",
            f"--work={work}",
            f"--training={minutes:g}",
        ]
        code = run_recipe([*words, "--dry-run"] if dry_run else words)
    if code:
        raise typer.Exit(code)
