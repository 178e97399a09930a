"""Answer files of raters: whole ones of this test, each rater once; all others are named."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import PathLike, read_json
from evaluation.mos.key import ANSWERS_FORMAT, CRITERIA, HIGHEST, LOWEST, Key

Marks = Mapping[str, Mapping[str, int]]
"""Random name of a video -> criterion -> mark from 1 to 10."""

_RATER = re.compile(r"[0-9a-f]{8,64}")


@dataclass(frozen=True)
class Answers:
    """What one rater answered.

    Attributes:
        rater: random name.
        file: name of the answer file.
        finished: ISO 8601 time in UTC, so that the order of texts is that of times.
        marks: of all videos of the test.
    """

    rater: str
    file: str
    finished: str
    marks: Marks


@dataclass(frozen=True)
class LeftOut:
    """An answer file that does not count, and why, in a sentence."""

    file: str
    reason: str


def read_answers(folder: PathLike, key: Key) -> tuple[list[Answers], list[LeftOut]]:
    """Read all JSON files of a folder, in the order of their names.

    Of several files of one rater the one finished last counts.

    Raises:
        UserError: the folder does not exist or holds no JSON file.
    """
    where = Path(folder)
    if not where.is_dir():
        raise UserError(f"The folder of answers '{where}' does not exist: check the path.")
    files = sorted(where.glob("*.json"))
    if not files:
        raise UserError(f"The folder '{where}' holds no .json file: put the raters' answer files there.")
    found: dict[str, Answers] = {}
    left_out = []
    for path in files:
        try:
            answers = _parse(path.name, read_json(path), key)
        except UserError as error:
            left_out.append(LeftOut(path.name, str(error)))
            continue
        other = found.get(answers.rater)
        if other is None:
            found[answers.rater] = answers
            continue
        older, newer = sorted((other, answers), key=lambda a: a.finished)
        found[answers.rater] = newer
        left_out.append(LeftOut(older.file, f"It is by the same rater as {newer.file}, which counts."))
    return list(found.values()), left_out


def _parse(name: str, data: Any, key: Key) -> Answers:
    """Raises UserError where the data is no whole answer to this test."""
    if not isinstance(data, dict) or data.get("format") != ANSWERS_FORMAT:
        raise UserError("It is no answer file of a listening test.")
    if data.get("study") != key.study:
        raise UserError("It belongs to another listening test.")
    rater, finished, marks = data.get("rater"), data.get("finished"), data.get("answers")
    if not isinstance(rater, str) or not _RATER.fullmatch(rater):
        raise UserError("It does not say which rater it is by.")
    if not isinstance(finished, str) or not isinstance(marks, dict):
        raise UserError("It holds no answers, or not when they were finished.")
    unknown, missing = set(marks) - key.tokens, key.tokens - set(marks)
    if unknown:
        raise UserError(f"It rates the video '{min(unknown)}', which is not part of the test.")
    if missing:
        raise UserError(f"It lacks {len(missing)} of {len(key.tokens)} videos.")
    for token in sorted(marks):
        _check(token, marks[token])
    return Answers(rater, name, finished, marks)


def _check(token: str, given: Any) -> None:
    if not isinstance(given, dict) or set(given) != set(CRITERIA):
        raise UserError(f"The video '{token}' has not exactly the marks {' and '.join(CRITERIA)}.")
    for criterion, mark in given.items():
        if type(mark) is not int or not LOWEST <= mark <= HIGHEST:
            raise UserError(
                f"The mark {mark!r} for {criterion} is no whole number from {LOWEST} to {HIGHEST}."
            )
