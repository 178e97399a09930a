"""``bootdub import-tbdub``."""

from __future__ import annotations

from enum import Enum
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


class VariantName(str, Enum):
    """The models of the release."""

    student = "student"
    teacher = "teacher"


def import_tbdub(
    folder: Annotated[Path, typer.Argument(help="The TBDub release as downloaded.")],
    output: OutputOption,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...", help="Entries of the sections geometry, diffusion, speech and heads."
        ),
    ] = None,
    variant: Annotated[
        VariantName, typer.Option(help="student: two steps; teacher: 30 steps of three branches.")
    ] = VariantName.student,
    dtype: DtypeOption = StoredDtype.auto,
    shard_size: ShardSizeOption = "5GB",
    context: Annotated[
        Path | None,
        typer.Option(help="The prompt's states (context.safetensors of a package) for null_prompt_emb.pt."),
    ] = None,
    speech: Annotated[
        Path | None, typer.Option(help="Where hubert-large-ll60k/ is, if not in FOLDER.")
    ] = None,
    latent_statistics: StatisticsOption = None,
    overwrite: OverwriteOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Make a model package from the weights of TBDub."""
    with clean_errors():
        require_folder(folder, "folder of published weights")
        from bootdub.messages import quieten_libraries, show_warnings

        quieten_libraries()
        show_warnings()
        from common.config import load_config
        from stage2_dubber.importing.config import Variant
        from stage2_dubber.importing.package import load_dtype
        from stage2_dubber.importing.sources import Given
        from stage2_dubber.importing.tbdub import CONFIGS, open_tbdub, release_settings

        chosen = Variant(variant.value)
        words = [*release_settings(folder, chosen), *(overrides or [])]
        config = load_config(CONFIGS[chosen], [], words)
        given = Given(context, speech, latent_statistics, load_dtype(dtype.value))
        sources = open_tbdub(folder, chosen, config, given)
        write_package(sources, config, given, output, shard_size, overwrite=overwrite, dry_run=dry_run)
