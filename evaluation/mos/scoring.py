"""From answer files to tables."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from common.files import PathLike, atomic_path, require_writable_dir, write_json
from evaluation.mos.answers import LeftOut, read_answers
from evaluation.mos.key import CRITERIA, Key
from evaluation.mos.statistics import (
    LEAST_FOR_TRUTH,
    MOST_FOR_CONTROL,
    Mean,
    SystemComparison,
    comparisons,
    means,
    screen,
)

_TITLES = {"naturalness": "Naturalness", "sync": "Synchronisation"}


@dataclass(frozen=True)
class Excluded:
    """A rater whose whole answers do not count."""

    rater: str
    file: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class ListeningScores:
    """The outcome of a listening test.

    Attributes:
        kept: raters that count.
        excluded: raters that the screening leaves out.
        left_out: files that are no whole answers to this test, or doubles.
        means, comparisons: empty where no rater counts.
    """

    study: str
    kept: tuple[str, ...]
    excluded: tuple[Excluded, ...]
    left_out: tuple[LeftOut, ...]
    means: tuple[Mean, ...]
    comparisons: tuple[SystemComparison, ...]


def score_answers(key: PathLike, answers: PathLike, output: PathLike) -> ListeningScores:
    """Screen the raters, compute the tables and write them.

    Writes scores.json (everything), means.csv, comparisons.csv, ratings.csv (every mark of every rater, with
    whether it counts) and scores.txt (to read).

    Args:
        key: JSON file made with the page.
        answers: folder of the raters' JSON files. Files that do not belong there are left out and named.
        output: folder, made where missing; files of these names are replaced.

    Raises:
        UserError: no key, no folder of answers, no JSON file in it, or the output cannot be written.
    """
    test = Key.load(key)
    given, left_out = read_answers(answers, test)
    reasons = {a.rater: screen(a, test) for a in given}
    kept = [a for a in given if not reasons[a.rater]]
    scores = ListeningScores(
        study=test.study,
        kept=tuple(a.rater for a in kept),
        excluded=tuple(Excluded(a.rater, a.file, tuple(reasons[a.rater])) for a in given if reasons[a.rater]),
        left_out=tuple(left_out),
        means=tuple(means(kept, test)),
        comparisons=tuple(comparisons(kept, test)),
    )
    folder = require_writable_dir(output)
    write_json(folder / "scores.json", scores)
    _write_rows(folder / "means.csv", [f.name for f in fields(Mean)], [_flat(m) for m in scores.means])
    columns = [f.name for f in fields(SystemComparison)]
    _write_rows(folder / "comparisons.csv", columns, [_flat(c) for c in scores.comparisons])
    ratings = [
        {
            **{"rater": a.rater, "counts": not reasons[a.rater], "group": page.group, "clip": page.clip},
            **{"system": entry.system, "role": entry.role.value, **a.marks[entry.token]},
        }
        for a in given
        for page in test.pages
        for entry in page.videos
    ]
    _write_rows(
        folder / "ratings.csv", ["rater", "counts", "group", "clip", "system", "role", *CRITERIA], ratings
    )
    with atomic_path(folder / "scores.txt") as temporary:
        temporary.write_text(readable(scores), encoding="utf-8")
    return scores


def _flat(row: Mean | SystemComparison) -> dict[str, Any]:
    return {name: getattr(value, "value", value) for name, value in asdict(row).items()}


def _write_rows(path: Path, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(rows)


def readable(scores: ListeningScores) -> str:
    """The outcome as plain text."""
    lines = [
        f"Listening test {scores.study}: {len(scores.kept)} raters count, {len(scores.excluded)} are "
        f"excluded, {len(scores.left_out)} files are left out.",
        f"A rater counts whose mean marks are at least {LEAST_FOR_TRUTH:g} for the ground truth and at most "
        f"{MOST_FOR_CONTROL:g} for the control, for naturalness and for synchronisation.",
        *(f"  excluded: {e.rater} ({e.file}): {' '.join(e.reasons)}" for e in scores.excluded),
        *(f"  left out: {one.file}: {one.reason}" for one in scores.left_out),
    ]
    if not scores.kept:
        lines.append("No rater counts, so there are no means.")
    for group in dict.fromkeys(mean.group for mean in scores.means):
        lines += ["", f"Group: {group}" if group != "all" else "All clips", *_table(scores, group)]
    return "\n".join(lines) + "\n"


def _table(scores: ListeningScores, group: str) -> list[str]:
    rows = [mean for mean in scores.means if mean.group == group]
    tests = {(c.other, c.criterion): c for c in scores.comparisons if c.group == group}
    width = max(len(row.system) for row in rows)
    lines = []
    for criterion in CRITERIA:
        lines.append(f"  {_TITLES[criterion]} (1 to 10; mean ± standard error, 95% interval)")
        for row in (r for r in rows if r.criterion == criterion):
            error = "" if row.standard_error is None else f" ± {row.standard_error:.2f}"
            line = f"    {row.system:{width}}  {row.mean:5.2f}{error}  [{row.low:.2f}, {row.high:.2f}]"
            line += f"  n={row.ratings}"
            test = tests.get((row.system, criterion))
            if test is not None:
                line += f"  {test.first} better: p={test.p_first_better:.3g}, any difference: "
                line += f"p={test.p_two_sided:.3g} ({test.untied} of {test.pairs} pairs differ)"
            lines.append(line)
    return lines
