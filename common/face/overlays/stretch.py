"""A stretch of frames summed up: what each place of the picture shows, and how much it changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from common.face.overlays.grid import Cells, Luma, Rect

Points = NDArray[np.float64]


@dataclass
class FrameBlock:
    """A few consecutive frames.

    Attributes:
        first: number of the first.
        part: the cells that all of them show.
        low, high, total: (h, w) darkest, brightest and sum of each cell.
        points: landmarks (68, 2) of each frame, cells.
    """

    first: int
    part: Rect
    low: Luma
    high: Luma
    total: NDArray[np.float32]
    points: list[Points] = field(default_factory=list)

    @classmethod
    def of(cls, number: int, cells: Cells, points: Points) -> FrameBlock:
        """Of one frame."""
        luma = cells.luma
        return cls(number, cells.part, luma, luma, luma.astype(np.float32), [points])

    def add(self, cells: Cells, points: Points) -> None:
        """One frame more; only cells that it shows stay."""
        part = self.part & cells.part
        here, luma = part.within(self.part.corner), cells.luma[part.within(cells.part.corner)]
        self.low, self.high = np.minimum(self.low[here], luma), np.maximum(self.high[here], luma)
        self.total = self.total[here] + luma
        self.part = part
        self.points.append(points)


@dataclass(frozen=True)
class FrameStretch:
    """Consecutive blocks as one.

    Attributes:
        part: the cells that all frames show.
        mean: (h, w) luma.
        changed: (h, w) levels between the darkest and the brightest frame.
        points: (N, 68, 2) landmarks, cells.
    """

    part: Rect
    mean: Luma
    changed: Luma
    points: Points

    @classmethod
    def of(cls, blocks: Sequence[FrameBlock]) -> FrameStretch | None:
        """None: no cell is shown by all of them."""
        part = blocks[0].part
        for block in blocks[1:]:
            part = part & block.part
        if part.empty:
            return None
        cuts = [part.within(block.part.corner) for block in blocks]
        low = np.minimum.reduce([block.low[cut] for block, cut in zip(blocks, cuts, strict=True)])
        high = np.maximum.reduce([block.high[cut] for block, cut in zip(blocks, cuts, strict=True)])
        total = np.sum([block.total[cut] for block, cut in zip(blocks, cuts, strict=True)], axis=0)
        points = np.stack([face for block in blocks for face in block.points])
        mean = np.asarray(np.rint(total / len(points)), np.uint8)
        return cls(part, mean, np.asarray(cv2.subtract(high, low), np.uint8), points)

    @cached_property
    def contrast(self) -> Luma:
        """(h, w) levels between the darkest and brightest cell of 3 x 3."""
        box = np.ones((3, 3), np.uint8)
        return np.asarray(cv2.subtract(cv2.dilate(self.mean, box), cv2.erode(self.mean, box)), np.uint8)
