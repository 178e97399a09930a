"""What every order of the samples promises."""

from __future__ import annotations

from typing import Protocol


class Order(Protocol):
    """A pure function of the step: nothing needs to be saved, and any step can be the first."""

    def global_batch(self, step: int) -> list[int]:
        """Numbers of the samples of one optimiser step, for all processes together."""
        ...

    def clip_frames(self, step: int) -> int:
        """Frames to use of each sample of that step; 0: ``geometry.clip_frames``."""
        ...
