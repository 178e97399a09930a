"""Tables that users write: CSV with names in the first line, and all that is wrong with its rows at once."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from common.errors import UserError
from common.files import require_file

T = TypeVar("T")
R = TypeVar("R")

Row = dict[str, str | None]


def read_table(path: Path, what: str) -> tuple[list[str], list[tuple[int, Row]]]:
    """The columns of a table, and its rows with their lines.

    Columns are separated by commas; by semicolons where the first line has those alone, as spreadsheets write
    them where commas are decimal points.

    Args:
        path: the file.
        what: it is, for messages.

    Raises:
        UserError: no such file, or no table.
    """
    require_file(path, what)
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            names = stream.readline()
            stream.seek(0)
            reader = csv.DictReader(stream, delimiter=";" if ";" in names and "," not in names else ",")
            columns = list(reader.fieldnames or ())
            return columns, [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"The {what} '{path}' is no table in UTF-8 (CSV): write it as one.") from error


def each_row(rows: Iterable[tuple[int, T]], read: Callable[[int, T], R], refused: str) -> list[R]:
    """What ``read`` makes of each row.

    Args:
        rows: lines and what stands there.
        read: is given both.
        refused: beginning of the message about rows that make no sense.

    Raises:
        UserError: such rows; all of them are named.
    """
    found: list[R] = []
    wrong: list[str] = []
    for line, row in rows:
        try:
            found.append(read(line, row))
        except UserError as error:
            wrong.append(f"line {line}: {str(error).removesuffix('.')}")
    if wrong:
        raise UserError(f"{refused}: {'; '.join(wrong)}.")
    return found
