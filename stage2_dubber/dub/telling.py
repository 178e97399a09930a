"""How a job tells how much of the dubbing is done; where it goes on, from what was done before."""

from __future__ import annotations

from collections.abc import Iterator

from common.progress import ProgressCallback
from stage2_dubber.dub.job import DUBBING, Composite


class FramesDone:
    """Counts frames of the model, also in fractions while a window is being sampled.

    Args:
        total: frames in all.
        tell: is told about :data:`DUBBING`.
    """

    def __init__(self, total: int, tell: ProgressCallback) -> None:
        self._total, self._tell = total, tell
        self._done = 0.0

    def __call__(self, frames: float) -> None:
        """So many more are done."""
        self._done = min(self._done + frames, self._total)
        self._tell(DUBBING, self._done, self._total)


def told(frames: Iterator[Composite], before: int, total: int, tell: ProgressCallback) -> Iterator[Composite]:
    """``frames``, telling how many of the dubbed ones are done; ``before``: what was done already."""
    tell(DUBBING, before, total)
    for item in frames:
        yield item
        if item.position is not None and item.position >= before:
            tell(DUBBING, item.position + 1, total)
