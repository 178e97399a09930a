"""How far work is, told while it goes on."""

from __future__ import annotations

from collections.abc import Callable

ProgressCallback = Callable[[str, float, float | None], None]
"""Called with what is being done, how much of it is done, and how much there is in all (None: not known)."""

CountCallback = Callable[[int, int], None]
"""Called after each item of one kind of work with the items done and the items in all."""


def format_duration(seconds: float) -> str:
    """``M:SS``, or ``H:MM:SS`` from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
