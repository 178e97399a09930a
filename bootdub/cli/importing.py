"""What the commands that import published weights have in common."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from stage2_dubber.importing.config import PackageConfig
    from stage2_dubber.importing.sources import Given, Sources


class StoredDtype(str, Enum):
    """How the transformer's weights are stored."""

    auto = "auto"
    bfloat16 = "bfloat16"
    float16 = "float16"
    float32 = "float32"


OutputOption = Annotated[Path, typer.Option(help="Model package to write: a new folder.")]
DtypeOption = Annotated[
    StoredDtype, typer.Option(help="Of the transformer's weights; auto: as they are in the file.")
]
ShardSizeOption = Annotated[str, typer.Option(help="Largest file of weights, such as 5GB or 500MB.")]
StatisticsOption = Annotated[
    Path | None,
    typer.Option(help="latents_mean and latents_std (safetensors) of an autoencoder that is not Wan2.2's."),
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite/--no-overwrite", help="Replace a model package that exists.")
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Check every file and print the plan, but write nothing.")
]


def write_package(
    sources: Sources,
    config: PackageConfig,
    given: Given,
    output: Path,
    shard_size: str,
    *,
    overwrite: bool,
    dry_run: bool,
) -> None:
    """Print the plan of an import and follow it."""
    from bootdub.console import ConsoleProgress
    from stage2_dubber.importing.package import import_package, plan_lines

    for line in plan_lines(sources, config, shard_size):
        print(line)
    if dry_run:
        return
    with ConsoleProgress(unit="MB") as progress:
        made = import_package(sources, config, given, output, shard_size, overwrite, progress)
    print(f"{output}: written" if made else f"{output}: was imported from these files already")
