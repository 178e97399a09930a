"""Results as JSON (everything) and CSV (a line per row), and back."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from typing import Any

from common import files
from common.errors import UserError
from common.files import PathLike, atomic_path
from evaluation.metrics.base import Better, Kind, Metric
from evaluation.results import Results, Row
from evaluation.tables import Tables

FORMAT = "bootdub-results-1"
COLUMNS = (
    "name",
    "group",
    "kind",
    "system",
    "success",
    "reasons",
    "frames",
    "seconds",
    "error",
    "notes",
)
"""Columns of a CSV before those of the metrics. ``reasons`` and ``notes`` are JSON lists."""


def write_json(results: Results, path: PathLike, tables: Tables | None = None) -> None:
    """Write everything, with the means if given. Whole or absent.

    Raises:
        ValueError: a value is not finite.
    """
    files.write_json(path, {"format": FORMAT, "results": results, "tables": tables})


def read_json(path: PathLike) -> Results:
    """What :func:`write_json` wrote.

    Raises:
        UserError: missing, not JSON, or no results of this format.
    """
    found = files.read_json(path)
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise UserError(f"The file '{path}' holds no results ({FORMAT}): give a results.json of bootdub.")
    try:
        return _results(found["results"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"The results in '{path}' are damaged ({error!r}): run the evaluation again."
        ) from error


def _results(given: dict[str, Any]) -> Results:
    return Results(
        title=given["title"],
        systems=tuple(given["systems"]),
        groups=tuple(given["groups"]),
        metrics=tuple(_metric(metric) for metric in given["metrics"]),
        rows=tuple(row_from(row) for row in given["rows"]),
        pooled=given["pooled"],
        facts=given["facts"],
    )


def _metric(given: dict[str, Any]) -> Metric:
    kinds = tuple(Kind(kind) for kind in given["kinds"])
    return Metric(**{**given, "better": Better(given["better"]), "kinds": kinds})


def row_from(given: dict[str, Any]) -> Row:
    """A row from its JSON; TypeError or KeyError where it is none of this version."""
    return Row(**{**given, "reasons": tuple(given["reasons"]), "notes": tuple(given["notes"])})


def write_csv(results: Results, path: PathLike) -> None:
    """Write one line per row and one column per metric, empty where not measured. Whole or absent.

    Raises:
        ValueError: a metric's key is the name of another column.
    """
    keys = [metric.key for metric in results.metrics]
    if set(keys) & set(COLUMNS):
        raise ValueError(f"metrics must not be named like other columns: {sorted(set(keys) & set(COLUMNS))}")
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as stream,
    ):
        writer = csv.writer(stream)
        writer.writerow([*COLUMNS, *keys])
        for row in results.rows:
            values = [repr(float(row.values[key])) if key in row.values else "" for key in keys]
            writer.writerow([*_fixed(row), *values])


def _fixed(row: Row) -> list[str]:
    return [
        row.name,
        row.group,
        row.kind,
        row.system,
        "" if row.success is None else str(row.success).lower(),
        _listed(row.reasons),
        str(row.frames),
        "" if row.seconds is None else repr(float(row.seconds)),
        row.error or "",
        _listed(row.notes),
    ]


def _listed(sentences: Iterable[str]) -> str:
    found = list(sentences)
    return json.dumps(found, ensure_ascii=False) if found else ""
