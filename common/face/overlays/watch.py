"""Looks for overlays while a face is followed."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from common.face.overlays.grid import Cells
from common.face.overlays.overlay import REACH, Overlay, Overlays
from common.face.overlays.still import LOWER_FACE, overlay_in
from common.face.overlays.stretch import FrameBlock, FrameStretch
from common.face.types import ImageArray

# Faces are looked at with about so many cells to the eye-corner distance.
_CELLS_PER_UNIT = 100
_BLOCK = 2  # frames that are summed up
# Stretches that are looked at, in blocks, and after every how many of them: words that change fast, and lines
# over a face that moves little.
_STRETCHES = {3: 1, 12: 4, 32: 8}
# What is seen of a frame reaches so far beyond the lower face, eye-corner distances.
_BEYOND = 0.4


class OverlayWatch:
    """Collects the overlays of one face's clip, frame by frame."""

    def __init__(self) -> None:
        self._blocks: deque[FrameBlock] = deque(maxlen=max(_STRETCHES))
        self._step, self._last, self._shot = 1, -2, 0
        self._found: list[Overlay] = []
        self._recent: list[Overlay] = []
        self._count = 0

    def look(
        self, index: int, image: ImageArray, landmarks: NDArray[np.floating], unit: float, shot: int
    ) -> None:
        """One frame.

        Args:
            index: its number.
            image: (H, W, 3) uint8 RGB.
            landmarks: (68, 2 or 3) pixels, finite.
            unit: pixels of the eye-corner distance.
            shot: number of its shot.
        """
        step = max(1, round(unit / _CELLS_PER_UNIT))
        # A face that comes nearer is seen in the same cells until they are twice too small.
        kept = index == self._last + 1 and shot == self._shot and step < 2 * self._step + 1
        kept &= 2 * step + 1 > self._step
        if not kept:
            self._blocks.clear()
            self._step = step
        self._last, self._shot = index, shot
        points = np.asarray(landmarks[:, :2], np.float64)
        cells = self._seen(image, points[LOWER_FACE], unit)
        if cells is None:
            self._blocks.clear()
            return
        in_cells = (points + 0.5) / self._step - 0.5
        if self._blocks and len(self._blocks[-1].points) < _BLOCK:
            self._blocks[-1].add(cells, in_cells)
        else:
            self._blocks.append(FrameBlock.of(index, cells, in_cells))
        if len(self._blocks[-1].points) == _BLOCK:
            self._judge(unit / self._step)

    def finish(self) -> Overlays | None:
        """All that were found; None: nothing was."""
        found = [*self._found, *self._recent]
        return Overlays(found) if found else None

    def _seen(self, image: ImageArray, lower: NDArray[np.float64], unit: float) -> Cells | None:
        height, width = image.shape[:2]
        low = np.floor(lower.min(axis=0) - _BEYOND * unit).astype(int).clip(0)
        high = np.ceil(lower.max(axis=0) + _BEYOND * unit).astype(int).clip(max=(width, height))
        if (high - low < 8 * self._step).any():
            return None
        part = image[low[1] : high[1], low[0] : high[0]]
        return Cells.of(part, self._step, (int(low[0]), int(low[1])))

    def _judge(self, unit: float) -> None:
        blocks = list(self._blocks)
        self._count += 1
        for count, every in _STRETCHES.items():
            if len(blocks) < count or self._count % every:
                continue
            stretch = FrameStretch.of(blocks[-count:])
            mask = None if stretch is None else overlay_in(stretch, unit)
            if stretch is not None and mask is not None:
                known, first = np.ones(mask.shape, bool), blocks[-count].first
                self._keep(Overlay(self._step, stretch.part, mask, stretch.mean, known, first, self._last))

    def _keep(self, overlay: Overlay) -> None:
        """With what was found of the same overlay before, or as another."""
        overlay = overlay.without_surplus()
        gone = [one for one in self._recent if overlay.first > one.last + REACH]
        self._found += gone
        self._recent = [one for one in self._recent if one not in gone]
        for place in range(len(self._recent) - 1, -1, -1):
            joined = self._recent[place].joined(overlay)
            if joined is not None:
                self._recent[place] = joined
                return
        self._recent.append(overlay)
