"""Overlays of a clip, and which of them a frame shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, reduce
from operator import or_

import cv2
import numpy as np

from common.face.overlays.cover import Cover
from common.face.overlays.grid import Cells, Flags, Luma, Rect
from common.face.types import ImageArray

REACH = 75
"""Frames before and after those in which an overlay was found that may show it, too."""

# Letters are told together where they are this near to each other, cells, and with what is about them.
_TOGETHER, _ABOUT = 3, 2
# They are there where the correlation with what was found is this high. It finds letters that fade, too.
_SEEN = 0.6
# What was found twice is one overlay where so much of it is seen again.
_SAME = 0.8
_LEAST_CELLS = 8
# Share of letters that must be in view to tell them, and that two findings have in common.
_ENOUGH = 0.3
_IN_USE = 64  # overlays whose letters are remembered


@dataclass(frozen=True, eq=False)
class Overlay:
    """Something that lies over the picture.

    Attributes:
        step: pixels of a cell.
        part: cells of the picture.
        mask: (h, w) bool, those that it covers.
        luma: (h, w) of the picture with it.
        known: (h, w) bool, where ``luma`` is known.
        first, last: frames in which it was found.
    """

    step: int
    part: Rect
    mask: Flags
    luma: Luma
    known: Flags
    first: int
    last: int

    def seen(self, cells: Cells) -> Flags:
        """(h, w) of these cells: where the overlay covers them."""
        result = np.zeros(cells.luma.shape, bool)
        here = cells.part
        for part, letters, grown in _letters(self):
            common = part & here
            if common.empty:
                continue
            ours, theirs = common.within(part.corner), common.within(here.corner)
            chosen = grown[ours]
            # Of letters that are cut off little can be said.
            if np.count_nonzero(letters[ours]) < max(_LEAST_CELLS, _ENOUGH * np.count_nonzero(letters)):
                continue
            expected = self.luma[common.within(self.part.corner)][chosen]
            if _correlation(expected, cells.luma[theirs][chosen]) >= _SEEN:
                result[theirs] |= letters[ours]
        return result

    def joined(self, other: Overlay) -> Overlay | None:
        """Both as one; None: they are not the same."""
        common = self.part & other.part
        if self.step != other.step or common.empty:
            return None
        ours, theirs = common.within(self.part.corner), common.within(other.part.corner)
        both = self.known[ours] & other.known[theirs]
        chosen = (self.mask[ours] | other.mask[theirs]) & both
        if np.count_nonzero(self.mask[ours] & other.mask[theirs]) < _ENOUGH * np.count_nonzero(chosen):
            return None
        if _correlation(self.luma[ours][chosen], other.luma[theirs][chosen]) < _SAME:
            return None
        whole = self.part | other.part
        mask, known = np.zeros(whole.shape, bool), np.zeros(whole.shape, bool)
        luma = np.zeros(whole.shape, np.uint8)
        for one in (other, self):
            place = one.part.within(whole.corner)
            luma[place][one.known] = one.luma[one.known]
            known[place] |= one.known
            mask[place] |= one.mask
        first, last = min(self.first, other.first), max(self.last, other.last)
        return Overlay(self.step, whole, mask, luma, known, first, last)

    def without_surplus(self) -> Overlay:
        """Only the part that its letters and what is about them need."""
        box = cv2.boundingRect(self.mask.astype(np.uint8))
        part = self.part.about(box, _TOGETHER + _ABOUT)
        cut = part.within(self.part.corner)
        mask, known = self.mask[cut].copy(), self.known[cut].copy()
        return replace(self, part=part, mask=mask, luma=self.luma[cut].copy(), known=known)


@dataclass(frozen=True)
class Overlays:
    """All overlays of a clip."""

    found: Sequence[Overlay]

    def cover(self, frame: int, picture: ImageArray, origin: tuple[int, int] = (0, 0)) -> Cover | None:
        """What covers a picture (h, w, 3) uint8 RGB, from ``origin`` of ``frame`` on; None: nothing."""
        shown = Rect.of(origin, picture.shape)
        near = [
            one
            for one in self._about.get(frame // REACH, ())
            if one.first - REACH <= frame <= one.last + REACH
        ]
        covers = []
        for step in sorted({one.step for one in near}):
            alike = [one for one in near if one.step == step]
            # Only what any of them may cover is looked at.
            part = reduce(or_, (one.part for one in alike)).times(step) & shown
            if part.empty:
                continue
            cells = Cells.of(picture[part.within(origin)], step, part.corner)
            mask = np.zeros(cells.luma.shape, bool)
            for one in alike:
                mask |= one.seen(cells)
            if mask.any():
                covers.append(Cover.of(cells, mask))
        return reduce(or_, covers) if covers else None

    @cached_property
    def _about(self) -> dict[int, list[Overlay]]:
        """Of each stretch of REACH frames those that it may show: a film has a thousand of them."""
        result: dict[int, list[Overlay]] = {}
        for one in self.found:
            for stretch in range(one.first // REACH - 1, one.last // REACH + 2):
                result.setdefault(stretch, []).append(one)
        return result


@lru_cache(_IN_USE)
def _letters(overlay: Overlay) -> list[tuple[Rect, Flags, Flags]]:
    """Letters that are told together: their part, their cells, and these with what is about them."""
    box = np.ones((1, 2 * _TOGETHER + 1), np.uint8)
    mask = overlay.mask.astype(np.uint8)
    count, numbers, boxes, _ = cv2.connectedComponentsWithStats(cv2.dilate(mask, box))
    found = []
    about = np.ones((2 * _ABOUT + 1, 2 * _ABOUT + 1), np.uint8)
    for number in range(1, count):
        part = overlay.part.about(boxes[number, :4].tolist(), _TOGETHER + _ABOUT)
        cut = part.within(overlay.part.corner)
        letters = overlay.mask[cut] & (numbers[cut] == number)
        if np.count_nonzero(letters) >= _LEAST_CELLS:
            grown = cv2.dilate(letters.astype(np.uint8), about) > 0
            found.append((part, letters, grown & overlay.known[cut]))
    return found


def _correlation(a: Luma, b: Luma) -> float:
    """Pearson's r of two lists of levels; 0 where one is even."""
    if not a.size:
        return 0.0
    x, y = a - a.mean(dtype=np.float64), b - b.mean(dtype=np.float64)
    size = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / size if size else 0.0
