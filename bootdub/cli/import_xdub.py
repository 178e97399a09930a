"""``bootdub import-xdub``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bootdub.cli.errors import clean_errors
from bootdub.cli.importing import (
    DryRunOption,
    DtypeOption,
    OutputOption,
    OverwriteOption,
    ShardSizeOption,
    StatisticsOption,
    StoredDtype,
    write_package,
)
from bootdub.cli.options import require_folder


def import_xdub(
    folder: Annotated[
        Path, typer.Argument(help="The X-Dub release as downloaded, or Wan2.2-TI2V-5B in diffusers' format.")
    ],
    output: OutputOption,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...",
            help="Entries of the sections geometry, diffusion, speech, heads and fresh.",
        ),
    ] = None,
    dtype: DtypeOption = StoredDtype.auto,
    shard_size: ShardSizeOption = "5GB",
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
    latent_statistics: StatisticsOption = None,
    overwrite: OverwriteOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Make a model package from published weights: one to dub with, or one to train from."""
    with clean_errors():
        require_folder(folder, "folder of published weights")
        from bootdub.messages import quieten_libraries, show_warnings

        quieten_libraries()
        show_warnings()
        from common.config import load_config
        from stage2_dubber.importing.config import ImportConfig
        from stage2_dubber.importing.package import load_dtype
        from stage2_dubber.importing.sources import Given, open_sources

        config = load_config(ImportConfig, [], overrides or [])
        given = Given(context, speech, latent_statistics, load_dtype(dtype.value))
        sources = open_sources(folder, config, given)
        write_package(sources, config, given, output, shard_size, overwrite=overwrite, dry_run=dry_run)
