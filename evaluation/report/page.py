"""Results as one page that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from common.files import PathLike, atomic_path
from evaluation.report.assets import Assets
from evaluation.report.charts import system_class
from evaluation.report.clips import clips, row_values
from evaluation.report.numbers import ARROWS, DIRECTIONS, KINDS
from evaluation.report.views import (
    charts,
    families,
    mean_tables,
    rate_lines,
)
from evaluation.results import Results
from evaluation.tables import Tables, aggregate

SIZE_LIMIT = 60_000_000
"""Bytes of pictures and clips that a page takes in; beyond, browsers and mail programs give up."""

NAME = "report.html"
# Facts with a place of their own.
_PLACED = ("rules", "missing", "main")


def write_report(
    results: Results, folder: PathLike, *, tables: Tables | None = None, size_limit: int = SIZE_LIMIT
) -> Path:
    """Write ``report.html``: one file with everything in it, which loads nothing from elsewhere.

    Of ``results.facts`` three keys have a meaning, the others are listed: "rules" (list of sentences: what
    success is), "missing" (metric key -> why it was not measured), "main" (keys of the metrics that are
    drawn; default: the first of each family that has a best value).

    Args:
        folder: ``Row.preview``, ``Row.strip`` and ``Row.video`` are relative to it.
        tables: the means, if they are known already.
        size_limit: bytes; where the clips need more they stay files beside the page, and it says so.

    Returns:
        The page.

    Raises:
        ValueError: see :func:`evaluation.tables.require_sound`.
        UserError: the folder cannot be written, or a row's file lies outside of it.
    """
    folder = Path(folder)
    assets = Assets(
        folder,
        (row.strip for row in results.rows if row.strip is not None),
        (row.preview for row in results.rows if row.preview is not None),
        size_limit,
    )
    tables = tables if tables is not None else aggregate(results)
    page = _environment().get_template("report.html.j2").stream(_context(results, tables, assets))
    with atomic_path(folder / NAME) as temporary:
        page.dump(str(temporary), encoding="utf-8")
    return folder / NAME


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("evaluation.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        arrow=lambda better: ARROWS[better], direction=lambda better: DIRECTIONS[better]
    )
    return environment


def _script() -> tuple[str, str]:
    """The page's script and its hash: the page's policy runs no other."""
    text = resources.files("evaluation.report").joinpath("templates/sort.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
    return text, f"sha256-{digest}"


def _context(results: Results, tables: Tables, assets: Assets) -> dict[str, Any]:
    row_value = row_values(results)
    found = clips(results, row_value)
    anchors = {(clip.group, clip.name, clip.kind): clip.anchor for clip in found}
    script, script_hash = _script()
    return {
        "results": results,
        "tables": tables,
        "facts": {key: value for key, value in results.facts.items() if key not in _PLACED},
        "rules": results.facts.get("rules", []),
        "overall": mean_tables(results, [tables.overall]),
        "by_kind": mean_tables(results, tables.kinds) if tables.kinds else [],
        "by_group": mean_tables(results, tables.groups) if tables.groups else [],
        "rate_blocks": tables.blocks,
        "rates": rate_lines(results, tables),
        "charts": charts(results, tables),
        "clips": found,
        "anchors": anchors,
        "families": families(results.metrics),
        "colours": {system: system_class(place) for place, system in enumerate(results.systems)},
        "kinds": {kind.value: words for kind, words in KINDS.items()},
        "failed": sum(row.error is not None for row in results.rows),
        "row_value": row_value,
        "address": assets.address,
        "linked": assets.links,
        "script": script,
        "script_hash": script_hash,
    }
