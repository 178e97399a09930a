"""How long work tells how far it is."""

from __future__ import annotations

from collections.abc import Callable

ProgressCallback = Callable[[str, float, float | None], None]
"""Called with what is being done, how much of it is done, and how much there is in all (None: not known)."""

CountCallback = Callable[[int, int], None]
"""Called after each item of one kind of work with the items done and the items in all."""
