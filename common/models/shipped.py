"""Where models lie that come with the program."""

from __future__ import annotations

import sys
from pathlib import Path


def shipped_places(name: str) -> list[Path]:
    """Beside the code, as in a clone of the repository; then ``share/bootdub`` of the installation."""
    return [
        Path(__file__).resolve().parents[2] / "models" / name,
        Path(sys.prefix) / "share" / "bootdub" / "models" / name,
    ]
