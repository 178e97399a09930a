"""``bootdub curate`` and ``bootdub occlude``: clips of your own for the benchmark."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from bootdub.cli.errors import clean_errors
from bootdub.cli.options import require_folder
from common.files import require_file


class CurationRule(str, Enum):
    """What clips are chosen by."""

    front = "front"
    occluded = "occluded"


class OccluderKind(str, Enum):
    """What is drawn in front of a mouth."""

    hand = "hand"
    microphone = "microphone"
    cup = "cup"


def curate(
    folder: Annotated[Path, typer.Argument(help="Folder of videos, searched with its subfolders.")],
    output: Annotated[Path, typer.Option(help="Manifest to write (CSV).")],
    rule: Annotated[
        CurationRule, typer.Option(help="front: small head angles; occluded: hands over the face.")
    ],
    threshold: Annotated[
        float | None, typer.Option(help="front: degrees (15); occluded: covered landmarks (30).")
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="At most so many clips; 0: all that fit.")] = 50,
    seed: Annotated[int, typer.Option(help="Of who is drawn and who speaks for whom.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
) -> None:
    """Choose clips of your own for the benchmark, as EdiDub's appendix C does."""
    with clean_errors():
        require_folder(folder, "folder of videos")
        from bootdub.console import ConsoleProgress
        from bootdub.messages import quieten_libraries
        from evaluation.bench.curate import curate as choose

        quieten_libraries()
        with ConsoleProgress(unit="videos") as progress:
            result = choose(
                folder,
                output,
                rule.value,
                threshold,
                limit,
                seed,
                workers,
                lambda done, total: progress("looking", done, total),
            )
        for verdict in result.verdicts:
            if verdict.reason is not None:
                print(f"left out {verdict.video}: {verdict.reason}", file=sys.stderr)
        print(f"{output}: {len(result.rows)} of {len(result.verdicts)} videos")


def occlude(
    manifest: Annotated[Path, typer.Argument(help="CSV as for evaluate; see docs/metrics.md.")],
    output: Annotated[Path, typer.Option(help="Folder for clips, tracks and manifest.csv.")],
    kind: Annotated[
        list[OccluderKind] | None, typer.Option(help="Once per kind, drawn in turn; default: all three.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the things, their ways and their times.")] = 0,
) -> None:
    """Draw hands, microphones and cups with a known mask over clips of your own. Goes on where it was cut."""
    with clean_errors():
        require_file(manifest, "manifest")
        from bootdub.console import ConsoleProgress
        from bootdub.messages import quieten_libraries
        from common.errors import UserError
        from evaluation.bench.occlude import MANIFEST, OCCLUDER_KINDS
        from evaluation.bench.occlude import occlude as draw

        quieten_libraries()
        kinds = [occluder.value for occluder in kind or ()] or OCCLUDER_KINDS
        with ConsoleProgress(unit="clips") as progress:
            result = draw(manifest, output, kinds, seed, lambda done, total: progress("drawing", done, total))
        for line in result.left_out:
            print(f"left out: {line}", file=sys.stderr)
        if not result.rows:
            raise UserError(f"No row of '{manifest}' could be made: mend what is said above.")
        print(f"{output / MANIFEST}: {len(result.rows)} clips, {result.kept} of them there already")
