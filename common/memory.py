"""Memory of the process that nobody uses any more."""

from __future__ import annotations

import ctypes
from contextlib import suppress


def give_back_freed() -> None:
    """Give the system what was freed: glibc keeps it, in holes that later arrays do not always fit.

    To be called where much was freed, after a pass over a video. Where there is no glibc nothing happens.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
