"""``bootdub import-xdub``."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from bootdub.cli.errors import clean_errors
from bootdub.cli.options import require_folder


class StoredDtype(str, Enum):
    """How the transformer's weights are stored."""

    auto = "auto"
    bfloat16 = "bfloat16"
    float16 = "float16"
    float32 = "float32"


def import_xdub(
    folder: Annotated[
        Path, typer.Argument(help="The X-Dub release as downloaded, or Wan2.2-TI2V-5B in diffusers' format.")
    ],
    output: Annotated[Path, typer.Option(help="Model package to write: a new folder.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...",
            help="Entries of the sections geometry, diffusion, speech, heads and fresh.",
        ),
    ] = None,
    dtype: Annotated[
        StoredDtype, typer.Option(help="Of the transformer's weights; auto: as they are in the file.")
    ] = StoredDtype.auto,
    shard_size: Annotated[str, typer.Option(help="Largest file of weights, such as 5GB or 500MB.")] = "5GB",
    context: Annotated[
        Path | None,
        typer.Option(
            help="The empty prompt's states (context.safetensors of a package), without text encoder."
        ),
    ] = None,
    speech: Annotated[
        Path | None,
        typer.Option(
            help="Where whisper/large-v2.pt and wav2vec2-base-960h/ are, if not in FOLDER: for base models."
        ),
    ] = None,
    latent_statistics: Annotated[
        Path | None,
        typer.Option(
            help="latents_mean and latents_std (safetensors) of an autoencoder that is not Wan2.2's."
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite/--no-overwrite", help="Replace a model package that exists.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check every file and print the plan, but write nothing.")
    ] = False,
) -> None:
    """Make a model package from published weights: one to dub with, or one to train from."""
    with clean_errors():
        require_folder(folder, "folder of published weights")
        from bootdub.console import ConsoleProgress
        from bootdub.messages import quieten_libraries, show_warnings

        quieten_libraries()
        show_warnings()
        from common.config import load_config
        from stage2_dubber.importing.config import ImportConfig
        from stage2_dubber.importing.package import import_package, load_dtype, plan_lines
        from stage2_dubber.importing.sources import Given, open_sources

        config = load_config(ImportConfig, [], overrides or [])
        given = Given(context, speech, latent_statistics, load_dtype(dtype.value))
        sources = open_sources(folder, config, given)
        for line in plan_lines(sources, config, shard_size):
            print(line)
        if dry_run:
            return
        with ConsoleProgress(unit="MB") as progress:
            made = import_package(sources, config, given, output, shard_size, overwrite, progress)
        print(f"{output}: written" if made else f"{output}: was imported from these files already")
