"""The life of MediaPipe's graphs."""

from __future__ import annotations

import weakref
from typing import Any


def close_with(owner: object, solution: Any) -> None:
    """Close a MediaPipe solution when ``owner`` is gone: its graph keeps about 60 MB until it is closed."""
    # Not at the interpreter's end: the process gives everything back anyway, and threads may be gone by then.
    weakref.finalize(owner, solution.close).atexit = False
