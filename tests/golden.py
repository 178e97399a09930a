"""Published vectors that some tests compare with; they are no part of the repository."""

from __future__ import annotations

import os
from pathlib import Path

_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "golden"

GOLDEN = Path(os.environ.get("BOOTDUB_GOLDEN", _BESIDE))
"""The folder; tests that need one of its parts are skipped where it is absent."""
REASON = "no golden vectors here (set BOOTDUB_GOLDEN)"
