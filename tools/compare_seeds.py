"""Compare the systems of several evaluations of the same clips, such as trainings with several seeds.

``python tools/compare_seeds.py FOLDER [FOLDER ...] [--measures mouth_r psnr_face]``

Each folder is one that ``bootdub evaluate`` wrote, with the same rows and systems. The values of a clip are
the mean over the folders, where all of them know it. For each group of rows and kind, means of the first
system are told, and of the others how far they are from it, with a 95 % bootstrap interval over clips and the
stars of a one-sided Wilcoxon test in the direction of the difference.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # also runs from a checkout that is not installed
    sys.path.insert(0, str(ROOT))

from common.errors import EXIT_CODE, UserError  # noqa: E402
from evaluation.difference import difference_table  # noqa: E402
from evaluation.results import Results, Row  # noqa: E402
from evaluation.results_file import read_json  # noqa: E402

MEASURES = (
    "mouth_r",
    "mouth_gain",
    "lip_leak",
    "sharpness_mouth",
    "psnr_face",
    "psnr_background",
    "straight_seams",
)
RESULTS = "results.json"

Clip = tuple[str, str]
"""Its name and the system."""


def read_folders(folders: Sequence[Path]) -> list[Results]:
    """Raises UserError: no results there, or of other rows or systems than the first folder's."""
    found = [read_json(folder / RESULTS) for folder in folders]
    for folder, results in zip(folders, found, strict=True):
        if results.systems != found[0].systems or _clips(results).keys() != _clips(found[0]).keys():
            raise UserError(
                f"{folder} has other rows or systems than {folders[0]}: evaluate the same in both."
            )
    return found


def _clips(results: Results) -> dict[Clip, Row]:
    return {(row.name, row.system): row for row in results.rows}


def lines(found: Sequence[Results], measures: Sequence[str]) -> Iterator[str]:
    """A Markdown table per group and kind of rows, one line per system."""
    folders = [_clips(results) for results in found]
    rows = found[0].rows
    for group, kind in dict.fromkeys((row.group, row.kind) for row in rows):
        names = list(dict.fromkeys(row.name for row in rows if (row.group, row.kind) == (group, kind)))
        systems = [
            (system, {measure: _means(folders, names, system, measure) for measure in measures})
            for system in found[0].systems
        ]
        yield from difference_table(f"{group}, {kind}, {len(names)} clips", systems)
        yield ""


def _means(
    folders: Sequence[dict[Clip, Row]], names: Sequence[str], system: str, measure: str
) -> list[float | None]:
    """Of each clip the mean over the folders; None where one of them does not know it."""
    found: list[float | None] = []
    for name in names:
        known = [clips[name, system].values.get(measure) for clips in folders]
        values = [value for value in known if value is not None]
        found.append(sum(values) / len(values) if len(values) == len(known) else None)
    return found


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument(
        "--measures", nargs="+", default=MEASURES, metavar="NAME", help="columns of a results.csv"
    )
    chosen = parser.parse_args(argv)
    try:
        print(*lines(read_folders(chosen.folders), chosen.measures), sep="\n")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_CODE
    return 0


if __name__ == "__main__":
    sys.exit(main())
