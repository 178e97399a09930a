"""``bootdub mos make`` and ``bootdub mos score``: the blind listening test."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bootdub.cli.errors import clean_errors
from bootdub.cli.options import require_folder
from common.files import require_file


def make(
    results: Annotated[Path, typer.Option(help="Output folder of bootdub evaluate or bench.")],
    output: Annotated[Path, typer.Option(help="Folder of the page, new or empty; its key goes beside it.")],
    system: Annotated[list[str] | None, typer.Option(help="Only these systems, by name.")] = None,
    key: Annotated[Path | None, typer.Option(help="Where the key goes instead.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="At most so many clips; 0: all.")] = 0,
    seconds: Annotated[float, typer.Option(min=1, help="Clips are cut to this length.")] = 15.0,
    seed: Annotated[int | None, typer.Option(help="Of orders and names; default: drawn.")] = None,
    title: Annotated[str, typer.Option(help="Heading of the page.")] = "Video listening test",
) -> None:
    """Make a page for a blind test: every system, the truth and a corrupted control, in random order."""
    with clean_errors():
        require_file(results / "results.json", "evaluation")
        from bootdub.console import ConsoleProgress
        from bootdub.messages import quieten_libraries
        from evaluation.command import listening_items
        from evaluation.mos import PageOptions, make_pages

        quieten_libraries()
        items, left_out = listening_items(results, system)
        with ConsoleProgress(unit="clips") as progress:
            made = make_pages(
                items,
                output,
                PageOptions(seed=seed, key=key, limit=limit, seconds=seconds, title=title),
                progress=lambda done, total: progress("writing clips", done, total),
            )
        for line in left_out:
            print(line)
        print(f"{output / 'index.html'}: {len(made.pages)} clips; keep the key away from raters")


def score(
    key: Annotated[Path, typer.Option(help="The key that was written beside the page.")],
    answers: Annotated[Path, typer.Option(help="Folder of the raters' JSON files.")],
    output: Annotated[Path, typer.Option(help="Folder for tables.")],
) -> None:
    """Screen the raters and score the systems (EdiDub, appendix A.2)."""
    with clean_errors():
        require_file(key, "key")
        require_folder(answers, "folder of answers")
        from evaluation.mos import score_answers
        from evaluation.mos.scoring import readable

        print(readable(score_answers(key, answers, output)))
