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
from common.own_mouths.frame import FaceAxes
from common.own_mouths.inside import Opening
from common.own_mouths.parting import INSIDE_SIZE, Parting, parting_of
from common.own_mouths.tone import Tone


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
    def parting(self) -> Parting:
        """Where the rows of its open mouth part."""
        axes = FaceAxes.of(self.landmarks, self.unit)
        opening = Opening.of(axes.to_face(self.landmarks[:, :2]))
        columns, rows = INSIDE_SIZE
        x = np.linspace(opening.upper[0, 0], opening.upper[-1, 0], columns, dtype=np.float32)[None]
        upper, lower = opening.edges(x)
        heights = (np.arange(rows, dtype=np.float32)[:, None] + 0.5) / rows
        y = upper + heights * (lower - upper)
        places = axes.to_pixels(np.stack([np.broadcast_to(x, y.shape), y], axis=-1)) - self.patch.origin
        maps = np.asarray(places, np.float32)
        inside = cv2.remap(
            self.patch.picture, maps[..., 0], maps[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        return parting_of(np.asarray(inside, np.uint8), (lower - upper)[0].clip(0).astype(np.float64))

    @property
    def luma(self) -> NDArray[np.uint8]:
        """(h, w) of its picture."""
        return np.asarray(cv2.cvtColor(self.patch.picture, cv2.COLOR_RGB2GRAY), np.uint8)

    @cached_property
    def colours(self) -> MouthColours:
        """Of its lips and skin."""
        return mouth_colours(self.patch.picture, self._points)

    @cached_property
    def tone(self) -> Tone:
        """Of its film."""
        return Tone.of(self.patch.picture)

    @property
    def _points(self) -> NDArray[np.float64]:
        return self.landmarks[:, :2] - self.patch.origin


def moments_of(bank: Bank) -> list[Moment]:
    """All moments of a bank, none of them measured yet."""
    scales = bank.heads.pose.scale.tolist()
    landmarks = bank.heads.landmarks
    return [Moment(*of) for of in zip(bank.patches, landmarks, scales, strict=True)]
