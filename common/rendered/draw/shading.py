"""Light on the head: one smooth field for the whole picture, plus soft local spots."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.rendered.draw.canvas import Canvas
from common.rendered.draw.view import View
from common.rendered.geometry import FaceShape, MouthGeometry, Pose, lift
from common.rendered.scene import Scene
from common.rendered.visemes import MouthShape


@dataclass(frozen=True)
class Spot:
    """A soft spot on the face in head units; `amount` is added to the brightness factor at its centre."""

    x: float
    y: float
    radius_x: float
    radius_y: float
    amount: float


def light_map(scene: Scene, pose: Pose, canvas: Canvas) -> np.ndarray:
    """Brightness factor (h, w) of a head-sized ellipsoid under the scene's light."""
    if scene.style.shading == "none":
        return np.ones(canvas.shape, np.float32)
    xs, ys = canvas.grid()
    centre = pose.project(np.array([[0.0, 0.1, 0.0]]))[0]
    # The head is turned back instead of the light; depth follows from the ellipsoid.
    axes = pose.rotation[:2, :2].astype(np.float32)
    x, y = (xs - centre[0]) / pose.unit, (ys - centre[1]) / pose.unit
    u = x[None, :] * axes[0, 0] + y[:, None] * axes[1, 0]
    v = x[None, :] * axes[0, 1] + y[:, None] * axes[1, 1]
    nx, ny = u * np.float32(1 / 1.15), v * np.float32(1 / 1.95)
    nz = np.sqrt(np.maximum(1.0 - nx * nx - ny * ny, 0.04))
    lx, ly, lz = (np.float32(c) for c in scene.light.direction)
    lambert = np.clip(lx * nx + ly * ny + lz * nz, 0.0, 1.0)
    contrast = np.float32(scene.light.contrast)
    if scene.style.shading == "two_tone":
        edge = np.clip((lambert - 0.50) * 18.0, 0.0, 1.0)
        return (1.03 - 0.9 * contrast * (1.0 - edge)).astype(np.float32)
    return (1.08 - 1.5 * contrast + 1.5 * contrast * lambert).astype(np.float32)


def spot_map(canvas: Canvas, pose: Pose, spots: list[Spot]) -> np.ndarray:
    """Sum of the spots over the window, (h, w). Beyond its radius a spot changes nothing at all."""
    points = pose.project(lift(np.array([[p.x, p.y] for p in spots])))
    xs, ys = canvas.grid()
    radius = np.array([[p.radius_x, p.radius_y] for p in spots], dtype=np.float32) * np.float32(pose.unit)
    amount = np.array([p.amount for p in spots], dtype=np.float32)
    dx = (xs[None] - points[:, 0:1].astype(np.float32)) / radius[:, 0:1]
    dy = (ys[None] - points[:, 1:2].astype(np.float32)) / radius[:, 1:2]
    bump_x = np.maximum(1.0 - dx * dx, 0.0) ** 2
    bump_y = np.maximum(1.0 - dy * dy, 0.0) ** 2 * amount[:, None]
    return bump_y.T @ bump_x


def _static_spots(face: FaceShape, solid: bool) -> list[Spot]:
    side = [
        Spot(face.eye_x, -0.04, 0.46, 0.30, -0.16),  # eye socket
        Spot(0.20, 0.00, 0.16, 0.34, -0.14),  # beside the bridge
        Spot(0.58, 0.40, 0.42, 0.30, 0.08),  # cheek bone
        Spot(face.nose_width * 0.95, face.nose_y - 0.02, 0.14, 0.16, -0.10),  # wing of the nose
    ]
    if not solid:
        side.append(Spot(0.98, 0.2, 0.24, 1.2, -0.14))  # where the cheek turns away
    middle = [
        Spot(0.0, 0.20, 0.11, 0.50, 0.10),
        Spot(0.0, face.nose_y - 0.13, 0.13, 0.13, 0.12),
        Spot(0.0, face.nose_y + 0.07, face.nose_width * 1.5, 0.11, -0.20),
        Spot(0.0, -0.62, 0.65, 0.40, 0.07),
    ]
    return middle + side + [Spot(-p.x, p.y, p.radius_x, p.radius_y, p.amount) for p in side]


def _blush(face: FaceShape) -> list[Spot]:
    cheeks = [Spot(side * 0.56, 0.46, 0.42, 0.34, 0.10) for side in (-1.0, 1.0)]
    return [*cheeks, Spot(0.0, face.nose_y - 0.08, 0.24, 0.20, 0.08)]


def _mouth_spots(face: FaceShape, mouth: MouthGeometry, shape: MouthShape) -> list[Spot]:
    lower_edge = float(mouth.outer[9, 1])
    corner_y = float(mouth.outer[0, 1])
    chin_y = face.chin_y + mouth.drop
    fold = 0.04 + 0.06 * shape.spread + 0.03 * shape.open
    middle = [
        Spot(0.0, lower_edge + 0.06, mouth.corner * 0.9, 0.11, -0.16),  # shade under the lower lip
        Spot(0.0, chin_y - 0.17, 0.26, 0.20, 0.08),
        Spot(0.0, 0.5 * (face.nose_y + float(mouth.outer[3, 1])) + 0.03, 0.09, 0.13, -0.05),
    ]
    side = [
        Spot(mouth.corner + 0.04, corner_y, 0.14, 0.15, -0.08),
        Spot(mouth.corner + 0.15, corner_y - 0.16, 0.24, 0.30, -fold),  # fold from nose to corner
        Spot(mouth.corner + 0.38, corner_y - 0.02, 0.26, 0.30, -0.07 * (shape.open + 0.6 * shape.round)),
    ]
    return middle + side + [Spot(-p.x, p.y, p.radius_x, p.radius_y, p.amount) for p in side]


def skin_paint(view: View, mouth: MouthGeometry, shape: MouthShape) -> np.ndarray:
    """Colour of the skin over the whole window, (3, h, w)."""
    scene, pose, canvas = view.scene, view.pose, view.canvas
    base = np.asarray(scene.palette.skin, dtype=np.float32)[:, None, None]
    if scene.style.shading != "smooth":
        return base * view.light
    strength = np.float32(0.6 + 0.5 * scene.style.detail)
    if "skin" not in view.memo:
        red = spot_map(canvas, pose, _blush(scene.face))
        tint = base * np.stack([np.ones_like(red), 1.0 - 0.9 * red, 1.0 - 0.7 * red])
        still = view.light + strength * spot_map(canvas, pose, _static_spots(scene.face, scene.solid))
        view.memo["skin"], view.memo["still"] = tint, still
    factor = view.memo["still"] + strength * spot_map(canvas, pose, _mouth_spots(scene.face, mouth, shape))
    paint = view.memo["skin"] * factor
    # Skin in shade is warmer than a plain darkening would make it.
    paint[0] += np.float32(9.0) * np.clip(1.0 - factor, 0.0, 0.6)
    return paint
