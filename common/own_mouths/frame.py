"""The face's own axes in a picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.face.layout import OUTER_EYE_CORNERS, RIGID_UPPER

Array = NDArray[np.float64]


@dataclass(frozen=True)
class FaceAxes:
    """x along the eyes, y down the face, origin at the mean rigid point, unit: eye-corner distances.

    Attributes:
        origin: (2,) pixels.
        along: (2,) unit vector of x in the picture.
        unit: pixels of one eye-corner distance.
    """

    origin: Array
    along: Array
    unit: float

    @classmethod
    def of(cls, points: Array, unit: float) -> FaceAxes:
        """Of landmarks (68, 2 or 3) in pixels."""
        right, left = OUTER_EYE_CORNERS
        eyes = points[left, :2] - points[right, :2]
        return cls(points[list(RIGID_UPPER), :2].mean(axis=0), eyes / np.linalg.norm(eyes), unit)

    @property
    def down(self) -> Array:
        """(2,) unit vector of y in the picture."""
        return np.array([-self.along[1], self.along[0]])

    def to_face(self, pixels: Array) -> Array:
        """(..., 2) pixels -> (..., 2) eye-corner distances."""
        centred = pixels - self.origin
        return np.stack([centred @ self.along, centred @ self.down], axis=-1) / self.unit

    def to_pixels(self, points: Array) -> Array:
        """(..., 2) eye-corner distances -> (..., 2) pixels."""
        return self.origin + self.unit * (points[..., :1] * self.along + points[..., 1:] * self.down)
