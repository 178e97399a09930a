"""What every drawing module needs to know about the frame being drawn."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from common.rendered.draw.canvas import Canvas, Shapes
from common.rendered.geometry import Pose, lift
from common.rendered.scene import Scene


@dataclass
class View:
    """A frame of a scene seen through a window.

    frame_index: of a frame, or of a moment between two of them. light (h, w): brightness factor of the head's
    light. memo: maps that do not depend on the mouth, kept for the next mouth of the same frame.
    """

    scene: Scene
    frame_index: float
    pose: Pose
    canvas: Canvas
    light: np.ndarray
    memo: dict[str, np.ndarray] = field(default_factory=dict)

    def copy(self) -> View:
        """The same frame with a canvas of its own."""
        return replace(self, canvas=self.canvas.copy())

    @property
    def unit(self) -> float:
        """Picture px per head unit in this frame."""
        return self.pose.unit

    def on_face(self, points: np.ndarray, bump: float | np.ndarray = 0.0) -> np.ndarray:
        """Flat head points (n, 2) on the face's surface -> px (n, 2)."""
        return self.pose.project(lift(points, bump))[:, :2]

    def at_depth(self, points: np.ndarray, z: float) -> np.ndarray:
        """Flat head points (n, 2) at one depth -> px (n, 2)."""
        points = np.asarray(points, dtype=np.float64)
        return self.pose.project(np.concatenate([points, np.full((len(points), 1), z)], axis=1))[:, :2]

    def solid(self, points3: np.ndarray) -> np.ndarray:
        """Head points (n, 3) -> px (n, 2)."""
        return self.pose.project(points3)[:, :2]

    def fill_lit(
        self,
        shapes: Shapes,
        colour: tuple[float, float, float],
        factor: float = 1.0,
        *,
        opacity: float = 1.0,
        feather: float = 0.0,
    ) -> None:
        """Fill polygons (px) with `colour` times `factor` under the head's light."""
        paint = np.asarray(colour, dtype=np.float32) * np.float32(factor)
        self.canvas.fill(shapes, paint, opacity=opacity, feather=feather, light=self.light)

    def outline(self, shapes: Shapes, *, closed: bool = True, factor: float = 1.0) -> None:
        """The dark contour line of drawn styles; nothing in the others."""
        width = self.scene.style.outline * self.unit * factor
        if width > 0:
            colour = np.asarray(self.scene.palette.outline, dtype=np.float32)
            soft = 0.55 if self.scene.style.shading == "smooth" else 1.0
            self.canvas.stroke(shapes, width, colour, opacity=soft, closed=closed)
