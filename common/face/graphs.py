"""MediaPipe's graphs: how they are imported, and their life."""

from __future__ import annotations

import importlib
import os
import weakref
from typing import Any

from common.deferred_packages import defer


def import_solution(name: str) -> Any:
    """A module of ``mediapipe.solutions``, such as "face_mesh", without the others.

    Importing all of MediaPipe takes .6 s of CPU time, most of it for drawing (Matplotlib) and sound, which
    nothing here uses. Call it where chatter is held back (:func:`common.face.quiet.without_chatter`).

    Raises:
        ImportError: MediaPipe is not installed, or one without these solutions.
    """
    # Read by the C++ side when it is loaded.
    os.environ.setdefault("GLOG_minloglevel", "2")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    defer("mediapipe")
    defer("mediapipe.python.solutions")
    return importlib.import_module(f"mediapipe.python.solutions.{name}")


def close_with(owner: object, solution: Any) -> None:
    """Close a MediaPipe solution when ``owner`` is gone: its graph keeps about 60 MB until it is closed."""
    # Not at the interpreter's end: the process gives everything back anyway, and threads may be gone by then.
    weakref.finalize(owner, solution.close).atexit = False
