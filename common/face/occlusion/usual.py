"""What the lower face of a clip usually looks like."""

from __future__ import annotations

from dataclasses import dataclass

from common.face.occlusion.picture import Flags
from common.face.pose import Array
from common.face.types import FloatArray

LEAST_AREA = 0.035
"""The smallest thing, as a part of the area of the lower face."""


@dataclass(frozen=True)
class Usual:
    """What is usual, of R free pictures.

    Attributes:
        skin: (3,) colour.
        lips: (2,) redness and lines of lips that are seen well,
            :func:`common.face.occlusion.features.lip_measures`.
        turns: (R, 2) yaw and pitch, radians.
        low, high: (R, HEIGHT, WIDTH, 5) least and largest features about every pixel,
            :func:`common.face.occlusion.features.features_of`.
    """

    skin: FloatArray
    lips: FloatArray
    turns: Array
    low: FloatArray
    high: FloatArray

    def limited(self, chosen: Flags) -> Usual:
        """Of the ``chosen`` (R,) pictures alone."""
        return Usual(self.skin, self.lips, self.turns[chosen], self.low[chosen], self.high[chosen])
