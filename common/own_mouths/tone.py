"""Film without colours of its own: black and white, sepia, other tints of grey.

What is drawn or painted into it has the colours of mouths; it must get those of the film.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.float32]

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
# Skin in white light, of luma 1: what has no colours is shown to a painter as if it were skin.
_SKIN = np.array([1.25, 0.95, 0.79], np.float32)
# Root mean square distance of colours from a line over luma, as a share of the mean luma: up to the first
# they are tints of grey, from the second on colours. A sepia has 0.008, a statue of stone 0.024 and thirty
# faces filmed in colour 0.039 and more.
_GREY, _COLOURED = 0.012, 0.018
_PIXELS = 4096  # that are looked at
_WHITE = 250.0  # at the end of the scale all tints are white


@dataclass(frozen=True)
class Tone:
    """The colour of each luma L in film without colours: offset + slope L.

    Attributes:
        share: how far film is without colours, 0 to 1; of film in colour, 0, nothing is changed.
        offset, slope: (3,).
    """

    share: float
    offset: NDArray[np.float32]
    slope: NDArray[np.float32]

    @classmethod
    def of(cls, picture: NDArray[np.uint8]) -> Tone:
        """Of (h, w, 3), a face's surroundings: the line over luma that is nearest to its colours."""
        pixels = picture.reshape(-1, 3)
        colours = pixels[:: max(1, len(pixels) // _PIXELS)].astype(np.float32)
        unclipped = colours.max(axis=1) < _WHITE
        colours = colours[unclipped] if unclipped.any() else colours
        luma = colours @ _LUMA
        middle, usual = float(luma.mean()), colours.mean(axis=0)
        apart = luma - middle
        slope = (apart @ (colours - usual)) / max(float(apart @ apart), 1.0)
        off = colours - usual - apart[:, None] * slope
        spread = float(np.sqrt(np.square(off).mean())) / max(middle, 1.0)
        share = float(np.clip((_COLOURED - spread) / (_COLOURED - _GREY), 0, 1))
        return cls(share, np.asarray(usual - middle * slope, np.float32), np.asarray(slope, np.float32))

    def of_film(self, picture: Picture) -> Picture:
        """A picture (h, w, 3) in the film's colours."""
        return self._mixed(picture, self.offset, self.slope)

    def of_skin(self, picture: Picture) -> Picture:
        """A picture (h, w, 3) of film without colours in those of skin."""
        return self._mixed(picture, np.zeros(3, np.float32), _SKIN)

    def _mixed(self, picture: Picture, offset: NDArray[np.float32], slope: NDArray[np.float32]) -> Picture:
        if not self.share:
            return picture
        toned = offset + (picture @ _LUMA)[..., None] * slope
        return np.asarray(picture + self.share * (toned - picture), np.float32)
