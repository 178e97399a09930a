"""What the first pass over a clip collects for own mouths."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.face.types import FaceObservation, ImageArray
from common.own_mouths.bank import Bank, BankBuilder
from common.own_mouths.config import OwnMouthsConfig

LEAST_MOMENTS = 5
"""A clip that shows fewer mouths cannot lend any."""


@dataclass(frozen=True)
class ClipMouths:
    """The mouths of a clip.

    Attributes:
        bank: moments.
        sharpness: frame -> sharpness, as :attr:`common.own_mouths.bank.Bank.sharpness`.
    """

    bank: Bank
    sharpness: dict[int, float]

    def sharpness_of(self, frames: NDArray[np.int64]) -> NDArray[np.float64]:
        """(N,) of these frames; of those not seen the median."""
        usual = float(np.median(list(self.sharpness.values())))
        return np.array([self.sharpness.get(int(frame), usual) for frame in frames])


class MouthCollector:
    """Watches a face being followed (:func:`common.face.track.track_face`) and collects its mouths."""

    def __init__(self, config: OwnMouthsConfig) -> None:
        self._builder = BankBuilder(config)

    def watch(self, index: int, image: ImageArray, seen: FaceObservation) -> None:
        """One frame. A neutral face that was placed in a box tells nothing about lips and is passed over."""
        if seen.measured:
            self._builder.add(index, image, seen.landmarks)

    def finish(self) -> ClipMouths | None:
        """What was collected; None where the clip shows too few mouths."""
        sharpness = self._builder.sharpness
        bank = self._builder.finish()
        return ClipMouths(bank, sharpness) if bank is not None and len(bank) >= LEAST_MOMENTS else None
