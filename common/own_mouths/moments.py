"""Measurements of a moment's mouth, made once however many frames it is laid into."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from common.face.layout import INNER_LIP_PAIRS
from common.own_mouths.bank import Bank, Patch
from common.own_mouths.drawn import MouthColours, mouth_colours
from common.own_mouths.inside import splitting_line

_SPLIT_SIZE = (24, 24)


@dataclass(frozen=True)
class Moment:
    """One moment of a bank.

    Attributes:
        patch: its picture.
        landmarks: (68, 3) pixels of its frame.
        unit: pixels of one eye-corner distance.
    """

    patch: Patch
    landmarks: NDArray[np.float64]
    unit: float

    @cached_property
    def gap(self) -> float:
        """Mean gap between the inner lips that it shows, eye-corner distances."""
        upper, lower = (list(side) for side in zip(*INNER_LIP_PAIRS, strict=True))
        gaps = np.linalg.norm(self.landmarks[lower, :2] - self.landmarks[upper, :2], axis=1)
        return float(gaps.mean() / self.unit)

    @cached_property
    def split(self) -> float:
        """Splitting line of its open mouth (:func:`common.own_mouths.inside.splitting_line`)."""
        points = self._points
        corners = np.array([points[61], points[63], points[65], points[67]], np.float32)
        width, height = _SPLIT_SIZE
        square = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
        matrix = cv2.getPerspectiveTransform(corners, square)
        inside = cv2.warpPerspective(self.patch.picture, matrix, _SPLIT_SIZE, borderMode=cv2.BORDER_REPLICATE)
        return splitting_line(np.asarray(inside, np.uint8))

    @property
    def luma(self) -> NDArray[np.uint8]:
        """(h, w) of its picture."""
        return np.asarray(cv2.cvtColor(self.patch.picture, cv2.COLOR_RGB2GRAY), np.uint8)

    @cached_property
    def colours(self) -> MouthColours:
        """Of its lips and skin."""
        return mouth_colours(self.patch.picture, self._points)

    @property
    def _points(self) -> NDArray[np.float64]:
        return self.landmarks[:, :2] - self.patch.origin


def moments_of(bank: Bank) -> list[Moment]:
    """All moments of a bank, none of them measured yet."""
    scales = bank.heads.pose.scale.tolist()
    landmarks = bank.heads.landmarks
    return [Moment(*of) for of in zip(bank.patches, landmarks, scales, strict=True)]
