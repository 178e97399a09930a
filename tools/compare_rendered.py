"""Compare evaluations of rendered characters, clip by clip.

``python tools/compare_rendered.py FIRST OTHER ...``

Each argument is a folder that ``tools/evaluate_rendered.py`` wrote, for the same clips. Of the first, means
are told; of the others how far they are from it, with a 95 % bootstrap interval over clips and the stars of a
one-sided Wilcoxon test in the direction of the difference.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from common.errors import EXIT_CODE, UserError
from common.files import read_json
from evaluation.difference import difference_table

MEASURES = ("mouth_r", "psnr_mouth_db", "psnr_outside_db", "occluder_psnr_db", "sharpness", "seconds")

Clips = dict[str, dict[str, Any]]


def read_clips(folder: Path) -> Clips:
    """The editor's scores by clip. Raises UserError where there is no evaluation."""
    file = folder / "evaluation.json"
    if not file.is_file():
        raise UserError(f"{folder}: no evaluation there; make one with tools/evaluate_rendered.py.")
    return {row["name"]: row["stage2"] for row in read_json(file)["clips"]}


def lines(folders: list[Path]) -> list[str]:
    """A Markdown table, one row per folder.

    Raises:
        UserError: a folder holds no evaluation, or one of other clips.
    """
    found = [(folder.name, read_clips(folder)) for folder in folders]
    first, known = found[0]
    for name, clips in found:
        if clips.keys() != known.keys():
            raise UserError(f"{name} was evaluated on other clips than {first}: evaluate both on the same.")
    systems = [
        (name, {measure: [clips[clip][measure] for clip in known] for measure in MEASURES})
        for name, clips in found
    ]
    return difference_table("", systems)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Compare evaluations of rendered characters, clip by clip.")
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    try:
        print(*lines(parser.parse_args(argv).folders), sep="\n")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_CODE
    return 0


if __name__ == "__main__":
    sys.exit(main())
