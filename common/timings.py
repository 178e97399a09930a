"""How long the steps took, for the report: timings.json in the work folder."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from common.files import read_json, write_json

NAME = "timings.json"


def read_timings(work: Path) -> dict[str, Any]:
    """Step -> {"seconds", "cpu_seconds", "frames"} of its last run that did something."""
    path = work / NAME
    return dict(read_json(path)) if path.is_file() else {}


def cpu_seconds() -> float:
    """What this process has computed so far, in seconds of one core, its threads and children included."""
    own = os.times()
    total = own.user + own.system + own.children_user + own.children_system
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # gone meanwhile
            total += sum(child.cpu_times()[:4])
    return total


def write_timing(work: Path, step: str, seconds: float, cpu: float, frames: int) -> None:
    """Note how long a step took, and computed; call it under the work folder's lock."""
    row = {"seconds": round(seconds, 3), "cpu_seconds": round(cpu, 3), "frames": frames}
    write_json(work / NAME, {**read_timings(work), step: row})
