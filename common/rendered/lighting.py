"""Light that changes while the camera runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.rendered.motion import Wobble


@dataclass(frozen=True)
class Lighting:
    """A smooth field of brightness and colour that the finished picture is multiplied with.

    gain: brightness of the whole picture. red, blue: factors of these channels (green keeps 1). contrast:
    the field runs from 1 - contrast to 1 + contrast across an edge of half the picture's height, which
    stands at `angle` (radians) and at `place` (picture heights from the middle).
    """

    gain: Wobble
    red: Wobble
    blue: Wobble
    contrast: float
    angle: Wobble
    place: Wobble

    def field(self, time: float, height: int, width: int) -> np.ndarray:
        """Factors (3, height, width) float32 at `time` seconds."""
        angle = self.angle(time)
        x = (np.arange(width) - (width - 1) / 2) / height
        y = (np.arange(height) - (height - 1) / 2) / height
        along = x[None] * np.cos(angle) + y[:, None] * np.sin(angle) - self.place(time)
        # A cubic edge: unlike tanh it is the same number on every machine.
        s = np.clip(along / 0.5 + 0.5, 0.0, 1.0)
        ramp = 1.0 + self.contrast * (2.0 * s * s * (3.0 - 2.0 * s) - 1.0)
        colour = self.gain(time) * np.array([self.red(time), 1.0, self.blue(time)])
        return np.asarray(colour[:, None, None] * ramp, dtype=np.float32)
