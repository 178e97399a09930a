"""Keeps native libraries' start-up chatter off the terminal, and nothing else."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

# Lines that MediaPipe, TensorFlow Lite, absl and EGL print on every start, whatever the user does.
_CHATTER = re.compile(
    r"Created TensorFlow Lite XNNPACK delegate"
    r"|All log messages before absl::InitializeLog\(\)"
    r"|Feedback manager requires a model with a single signature"
    r"|Using NORM_RECT without IMAGE_DIMENSIONS"
    r"|gl_context(_egl)?\.cc.*(GL version|Successfully initialized EGL)"
)

# File descriptor 2 belongs to the process: two threads that redirect it at once would lose it for good.
_one_at_a_time = threading.RLock()


# Set once a graph of this process has found landmarks: the first one to look for them prints once more.
_looked = threading.Event()


def landmarks_found() -> None:
    """Tell that a graph has found landmarks."""
    _looked.set()


def without_first_chatter() -> AbstractContextManager[None]:
    """As :func:`without_chatter` until landmarks were found, then nothing: threads need not wait any more."""
    return nullcontext() if _looked.is_set() else without_chatter()


@contextmanager
def without_chatter() -> Iterator[None]:
    """Hold back what the process writes to file descriptor 2; known chatter is dropped, the rest kept.

    The libraries write from C++, past ``sys.stderr``, before their own log levels can be set. Whatever else
    was written, and everything when an exception leaves the block, reaches stderr at the end of the block.
    One thread at a time: keep the blocks short.
    """
    with _one_at_a_time, tempfile.TemporaryFile() as held:
        sys.stderr.flush()
        saved = os.dup(2)
        clean = False
        os.dup2(held.fileno(), 2)
        try:
            yield
            clean = True
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
            held.seek(0)
            for line in held.read().decode("utf-8", "replace").splitlines(keepends=True):
                if not clean or not _CHATTER.search(line):
                    sys.stderr.write(line)
