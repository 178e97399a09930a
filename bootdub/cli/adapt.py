"""``bootdub adapt``: a model for one person."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from bootdub.cli.errors import clean_errors
from bootdub.cli.options import ModelOption, require_folder
from common.errors import UserError


class AdaptedPart(str, Enum):
    """What is adapted."""

    editor = "editor"
    mouths = "mouths"


_MINUTES = {AdaptedPart.editor: 10.0, AdaptedPart.mouths: 1.0}


def adapt(
    videos: Annotated[
        Path, typer.Argument(help="Folder with film of one person: the clips to be dubbed, or others.")
    ],
    work: Annotated[Path, typer.Option(help="Everything that is made; the result is WORK/package.")],
    model: ModelOption = None,
    part: Annotated[
        AdaptedPart | None,
        typer.Option(
            help="editor: a LoRA of the model; mouths: insides of mouths, where own mouths are drawn. "
            "Default: what the package draws with."
        ),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(help="Of training; the data take about as long as a dub. Default: editor 10, mouths 1."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything and print the commands, but run none.")
    ] = False,
) -> None:
    """Adapt a model to one person; the package that it makes dubs like every other.

    The same command goes on after an interruption.
    """
    with clean_errors():
        from common.models.package_info import read_info
        from common.own_mouths.config import Renderer
        from common.own_mouths.painting.shipped import painter_folder
        from common.recipes.__main__ import main as run_recipe
        from stage2_dubber.adaptation.describe import adaptable
        from stage2_dubber.dub.locate import default_model_path

        if minutes is not None and not minutes > 0:
            raise UserError(f"--minutes is {minutes:g}: give a number above 0.")
        require_folder(videos, "folder of film")
        folder = model or default_model_path()
        info = read_info(folder)
        if part is None:
            part = AdaptedPart.editor if info.renderer is Renderer.editor else AdaptedPart.mouths
        if part is AdaptedPart.editor:
            adaptable(folder)
            words = ["adapt"]
        else:
            words = ["adapt_mouths", f"--painter={painter_folder(folder)}"]
        words += [
            f"--videos={videos}",
            f"--model={folder}",
            f"--work={work}",
            f"--training={minutes or _MINUTES[part]:g}",
        ]
        code = run_recipe([*words, "--dry-run"] if dry_run else words)
    if code:
        raise typer.Exit(code)
