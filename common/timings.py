"""How long the steps took, for the report: timings.json in the work folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common.files import read_json, write_json

NAME = "timings.json"


def read_timings(work: Path) -> dict[str, Any]:
    """Step -> {"seconds", "frames"} of its last run that did something."""
    path = work / NAME
    return dict(read_json(path)) if path.is_file() else {}


def write_timing(work: Path, step: str, seconds: float, frames: int) -> None:
    """Note how long a step took; call it under the work folder's lock."""
    row = {"seconds": round(seconds, 3), "frames": frames}
    write_json(work / NAME, {**read_timings(work), step: row})
