"""Which messages of the program and of its libraries reach the user."""

from __future__ import annotations

import logging
import os
import sys


def quieten_libraries() -> None:
    """Silence known chatter that says nothing about the user's job; call before the libraries load.

    xformers announces missing CUDA extensions at every import of diffusers, also where they are not
    used; TensorFlow Lite and glog (inside mediapipe) print their start-up to stderr; transformers shows a
    bar for every model that it loads. Errors of all of them stay visible, and Python's own warnings are
    left alone. Values that the user set win.
    """
    logging.getLogger("xformers").setLevel(logging.ERROR)
    os.environ.setdefault("GLOG_minloglevel", "2")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def show_warnings() -> None:
    """Print the program's own log warnings as ``warning: ...`` on stderr."""
    logger = logging.getLogger("bootdub")
    if not any(isinstance(handler, _Warnings) for handler in logger.handlers):
        logger.addHandler(_Warnings(logging.WARNING))


class _Warnings(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        print(f"warning: {record.getMessage()}", file=sys.stderr)
