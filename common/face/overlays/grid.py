"""The luma of a picture in cells of a fixed grid: the same places of the picture in every frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from common.face.types import ImageArray

Luma = NDArray[np.uint8]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Rect:
    """A rectangle of pixels or cells, without ``x1`` and ``y1``; empty unless these lie beyond the others."""

    x0: int
    y0: int
    x1: int
    y1: int

    @classmethod
    def of(cls, corner: tuple[int, int], shape: Sequence[int]) -> Rect:
        """Of an array (h, w, ...) whose first element is the corner (x, y)."""
        return cls(*corner, corner[0] + shape[1], corner[1] + shape[0])

    def grown(self, margin: int) -> Rect:
        """By so many on every side."""
        return Rect(self.x0 - margin, self.y0 - margin, self.x1 + margin, self.y1 + margin)

    def times(self, step: int) -> Rect:
        """In pixels, where it is in cells with sides of ``step`` pixels."""
        return Rect(step * self.x0, step * self.y0, step * self.x1, step * self.y1)

    def about(self, box: Sequence[int], margin: int) -> Rect:
        """The part of it about a box x, y, width, height that is told from its corner."""
        x, y, width, height = box
        return Rect.of((self.x0 + x, self.y0 + y), (height, width)).grown(margin) & self

    @property
    def empty(self) -> bool:
        return self.x1 <= self.x0 or self.y1 <= self.y0

    @property
    def corner(self) -> tuple[int, int]:
        return self.x0, self.y0

    @property
    def shape(self) -> tuple[int, int]:
        return self.y1 - self.y0, self.x1 - self.x0

    def __and__(self, other: Rect) -> Rect:
        return Rect(
            max(self.x0, other.x0), max(self.y0, other.y0), min(self.x1, other.x1), min(self.y1, other.y1)
        )

    def __or__(self, other: Rect) -> Rect:
        """The smallest that holds both."""
        return Rect(
            min(self.x0, other.x0), min(self.y0, other.y0), max(self.x1, other.x1), max(self.y1, other.y1)
        )

    def within(self, corner: tuple[int, int]) -> tuple[slice, slice]:
        """Its rows and columns in an array with this corner."""
        x, y = corner
        return slice(self.y0 - y, self.y1 - y), slice(self.x0 - x, self.x1 - x)


@dataclass(frozen=True)
class Cells:
    """A part of the grid.

    Attributes:
        part: where it lies; cell (x, y) holds the pixels from (x, y) step on.
        step: pixels of a cell's side.
        luma: (h, w) mean of each cell.
    """

    part: Rect
    step: int
    luma: Luma

    @classmethod
    def of(cls, picture: ImageArray, step: int, origin: tuple[int, int] = (0, 0)) -> Cells:
        """The whole cells of a picture (h, w, 3) uint8 RGB whose first pixel is ``origin`` of the frame."""
        left, top = (-(-at // step) for at in origin)
        x, y = left * step - origin[0], top * step - origin[1]
        columns, rows = (max(size, 0) // step for size in (picture.shape[1] - x, picture.shape[0] - y))
        part = Rect(left, top, left + columns, top + rows)
        if part.empty:
            return cls(part, step, np.zeros(part.shape, np.uint8))
        luma = cv2.cvtColor(picture[y : y + rows * step, x : x + columns * step], cv2.COLOR_RGB2GRAY)
        if step > 1:
            luma = cv2.resize(luma, (columns, rows), interpolation=cv2.INTER_AREA)
        return cls(part, step, np.asarray(luma, np.uint8))
