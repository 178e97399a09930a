"""A table of dubbing jobs (CSV): one row per job, a column per option."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_type_hints

from common.diffusion.options import SamplingOptions
from common.errors import UserError
from common.files import fingerprint
from stage2_dubber.dub.length.options import Timing
from stage2_dubber.dub.lists.table import Row, each_row, read_table
from stage2_dubber.dub.request import DubRequest
from stage2_dubber.dub.request_paths import check_paths

REQUIRED = ("video", "audio", "output")
_UNHEARD = ("cues", "text", "prompt_states")
"""Columns with which a row needs no audio."""


@dataclass(frozen=True)
class Job:
    """One row.

    Attributes:
        line: of the table.
        request: what it asks for.
        key: names the row's content, whatever its place in the table.
    """

    line: int
    request: DubRequest
    key: str


def read_jobs(
    table: Path, overwrite: bool, finished: Callable[[str], bool], cut: Callable[[Job], bool]
) -> list[Job]:
    """Read a table and check the paths of all its rows.

    Columns: video, audio and output, and options of a dub by their names in Python. Paths are looked for
    beside the table; an empty field means the default.

    Args:
        table: the file.
        overwrite: outputs that exist are replaced.
        finished: tells by a job's key whether it is done; its output may exist.
        cut: tells whether a job was killed with its output there already; that is made anew.

    Raises:
        UserError: no such table, or rows that cannot be dubbed; all of them are named.
    """
    columns, rows = read_table(table, "list of jobs")
    _check_columns(table, columns)
    if not rows:
        raise UserError(f"The list of jobs '{table}' has no row: add one per clip.")
    outputs: dict[Path, int] = {}

    def read(line: int, row: Row) -> Job:
        job = _job(table, line, row, overwrite)
        if not finished(job.key):
            if cut(job):
                job = replace(job, request=replace(job.request, overwrite=True))
            check_paths(job.request)
        first = outputs.setdefault(job.request.output.resolve(), line)
        if first != line:
            raise UserError(f"its output is that of line {first}")
        return job

    return each_row(rows, read, f"The list of jobs '{table}' has rows that cannot be dubbed")


def _check_columns(table: Path, columns: list[str]) -> None:
    known = [*REQUIRED, *_READ]
    for column in REQUIRED:
        if column not in columns:
            raise UserError(
                f"The list of jobs '{table}' has no column '{column}': name it in the first line, with "
                "commas or semicolons between columns."
            )
    for column in columns:
        if column not in known:
            raise UserError(
                f"The list of jobs '{table}' has an unknown column '{column}': there are {', '.join(known)}."
            )


def _job(table: Path, line: int, row: Row, overwrite: bool) -> Job:
    if None in row or any(value is None for value in row.values()):
        raise UserError("it has not as many cells as columns")
    values = {name: (value or "").strip() for name, value in row.items()}
    for name in REQUIRED:
        if not values[name] and not (name == "audio" and any(map(values.get, _UNHEARD))):
            raise UserError(f"its '{name}' is empty")
    given: dict[str, Any] = {}
    for name, text in values.items():
        if text and name not in REQUIRED:
            try:
                beside = table.parent / text
                file = name in _PATHS or (name == "face" and beside.is_file())
                given[name] = str(beside) if file else _READ[name](text)
            except ValueError as error:
                raise UserError(f"its {name} '{text}' makes no sense") from error
    video, audio, output = (table.parent / values[name] if values[name] else None for name in REQUIRED)
    assert video is not None and output is not None
    request = DubRequest.of(video, audio, output, overwrite=overwrite, **given)
    return Job(line, request, fingerprint({name: text for name, text in values.items() if text}))


def _box(text: str) -> tuple[float, ...]:
    x0, y0, x1, y1 = (float(part) for part in text.split(","))
    return x0, y0, x1, y1


def _flag(text: str) -> bool:
    words = {"yes": True, "true": True, "no": False, "false": False}
    if text.lower() not in words:
        raise ValueError(text)
    return words[text.lower()]


_READERS: dict[type, Callable[[str], Any]] = {bool: _flag, int: int, float: float}


def _options() -> dict[str, type]:
    """Options of a dub that are one value: name -> its type, where there is any."""
    hints = get_type_hints(DubRequest)
    kinds = {field.name: (*get_args(hints[field.name]), hints[field.name])[0] for field in fields(DubRequest)}
    given = (
        *REQUIRED,
        "box",
        "overwrite",
    )  # the box is four numbers; all rows of a list are overwritten alike
    simple = (str, int, float, Enum, Path)
    return {n: kind for n, kind in kinds.items() if n not in given and issubclass(kind, simple)}


_PATHS = tuple(name for name, kind in _options().items() if issubclass(kind, Path))
_READ: dict[str, Callable[[str], Any]] = {
    **{name: _READERS.get(kind, str) for name, kind in _options().items()},
    **SamplingOptions.types(),
    **Timing.types(),
    "box": _box,
}
"""Column -> how its text is read."""
