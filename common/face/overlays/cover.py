"""Pixels of a frame that an overlay covers: filled in before a face is changed, laid back afterwards."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from common.face.masks import widen
from common.face.overlays.grid import Cells, Flags, Rect
from common.face.types import ImageArray

# Pixels about each that a filled one is made of, and how softly an overlay ends when it is laid back.
_FROM, _SOFT = 3, 0.7
# More pixels than this are filled in at a smaller size: it takes long, and is blurred anyway.
_AT_ONCE = 6000


@dataclass(frozen=True)
class Cover:
    """A mask over a rectangle of a frame.

    Attributes:
        origin: (x, y) of its first pixel.
        mask: (h, w) uint8, 255 where the overlay is.
    """

    origin: tuple[int, int]
    mask: NDArray[np.uint8]

    @classmethod
    def of(cls, cells: Cells, covered: Flags) -> Cover:
        """Of cells, (h, w) of which are covered, and a pixel about them."""
        step = cells.step
        x, y, width, height = cv2.boundingRect(covered.astype(np.uint8))
        part = covered[y : y + height, x : x + width].astype(np.uint8) * 255
        mask = np.pad(part.repeat(step, axis=0).repeat(step, axis=1), 2)
        left, top = (cells.part.x0 + x) * step - 2, (cells.part.y0 + y) * step - 2
        return cls((left, top), widen(mask, 1))

    def __or__(self, other: Cover) -> Cover:
        """What either covers."""
        whole = self._place | other._place
        mask = np.zeros(whole.shape, np.uint8)
        for one in (self, other):
            part = mask[one._place.within(whole.corner)]
            np.maximum(part, one.mask, out=part)
        return Cover(whole.corner, mask)

    @property
    def _place(self) -> Rect:
        return Rect.of(self.origin, self.mask.shape)

    def share(self, outline: NDArray[np.floating]) -> float:
        """Share of what lies within an outline (n, 2), pixels, that is covered."""
        inside = np.zeros(self.mask.shape, np.uint8)
        points = np.rint(outline - self.origin).astype(np.int32)
        x, y, width, height = cv2.boundingRect(points)
        area = np.zeros((height, width), np.uint8)
        cv2.fillPoly(area, [points - [x, y]], (1,))
        cv2.fillPoly(inside, [points], (1,))
        return np.count_nonzero(inside & (self.mask > 0)) / max(np.count_nonzero(area), 1)

    def filled_in(self, picture: ImageArray, origin: tuple[int, int] = (0, 0)) -> ImageArray:
        """A picture (h, w, 3), whose first pixel is ``origin`` of the frame, as if nothing covered it.

        By the equations of Bertalmio, Bertozzi and Sapiro (2001), from the pixels about it.
        """
        smaller = max(1, int(np.ceil(np.sqrt(np.count_nonzero(self.mask) / _AT_ONCE))))
        cut = self._cut(picture, origin, (_FROM + 2) * smaller)
        if cut is None:
            return picture
        (rows, columns), mask = cut
        result = picture.copy()
        part = result[rows, columns]
        cv2.copyTo(_filled(part, mask, smaller), mask, part)
        return result

    def laid_back(self, result: ImageArray, source: ImageArray) -> ImageArray:
        """A frame (H, W, 3) with what covers its source."""
        cut = self._cut(result, (0, 0), 3)
        if cut is None:
            return result
        place, mask = cut
        share = np.maximum(cv2.GaussianBlur(mask, (0, 0), _SOFT), mask).astype(np.float32)[..., None] / 255
        mixed = result[place] * (1 - share) + source[place] * share
        laid = result.copy()
        laid[place] = np.rint(mixed)
        return laid

    def _cut(
        self, picture: ImageArray, origin: tuple[int, int], margin: int
    ) -> tuple[tuple[slice, slice], NDArray[np.uint8]] | None:
        """Rows and columns of a picture about the mask, and the mask there; None: it lies outside."""
        here = self._place.grown(margin) & Rect.of(origin, picture.shape)
        if here.empty:
            return None
        mask, both = np.zeros(here.shape, np.uint8), self._place & here
        if not both.empty:
            mask[both.within(here.corner)] = self.mask[both.within(self.origin)]
        return here.within(origin), mask


def _filled(picture: ImageArray, mask: NDArray[np.uint8], smaller: int) -> ImageArray:
    """A picture (h, w, 3) filled in where the mask says so, there at a ``smaller``-th of its size."""
    height, width = mask.shape
    size = (max(1, width // smaller), max(1, height // smaller))
    if smaller > 1:
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        shown = cv2.resize(widen(mask, smaller), size, interpolation=cv2.INTER_AREA)
        made = cv2.inpaint(small, (shown > 0).astype(np.uint8), _FROM, cv2.INPAINT_NS)
        return np.asarray(cv2.resize(made, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    return np.asarray(cv2.inpaint(picture, mask, _FROM, cv2.INPAINT_NS), np.uint8)
