"""A head with sides and a back, for turns at which a flat mask would show its edge.

Face and skull are convex, so their silhouettes are the hulls of points on them; only nose and lips stand out.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np

from common.rendered.draw.canvas import intersect
from common.rendered.draw.view import View
from common.rendered.geometry import FaceShape, MouthGeometry, jaw_outline, lift, spline

_HAIR = 1.07  # size of the skull with its hair
_EAR_Z = -0.12
_HAIR_EDGE = -0.55  # height of the hairline


def _hull(points: np.ndarray) -> np.ndarray:
    """Convex hull (m, 2) of points (n, 2) in px."""
    return np.asarray(cv2.convexHull(points.astype(np.float32))[:, 0], dtype=np.float64)


@lru_cache(maxsize=8)
def _skull(radius: float) -> np.ndarray:
    """Points (n, 3) on the skull, an ellipsoid that reaches behind the ears."""
    t, p = np.meshgrid(np.linspace(0, 2 * np.pi, 24, endpoint=False), np.linspace(0, np.pi, 13))
    x = 1.02 * radius * np.sin(p) * np.cos(t)
    y = -0.42 - 1.06 * radius * np.cos(p)
    z = -0.18 + 1.12 * radius * np.sin(p) * np.sin(t)
    points = np.stack([x.ravel(), y.ravel(), z.ravel()], axis=1)
    points.setflags(write=False)
    return points


@lru_cache(maxsize=8)
def _mask(face: FaceShape, top: float) -> np.ndarray:
    """Points (n, 3) on the skin between the height `top` and the chin, from ear to ear."""
    outline = jaw_outline(face, 0.0)[:9]
    rows = np.linspace(top, face.chin_y - 0.04, 16)
    half = np.interp(rows, outline[:, 1], -outline[:, 0])
    # Towards the forehead the head narrows like the skull above it.
    half *= np.sqrt(np.clip(1.0 - ((rows.clip(max=0.0)) / 1.62) ** 2, 0.0, 1.0))
    across = np.linspace(-0.97, 0.97, 13)
    flat = np.stack([(half[:, None] * across).ravel(), np.repeat(rows, len(across))], axis=1)
    points = lift(flat)
    # The chin recedes less than the ellipsoid would have it, the cheeks end at the ears.
    points[:, 2] += 0.16 * np.clip((flat[:, 1] - 1.1) / 0.4, 0.0, 1.0) * (1 - np.abs(flat[:, 0]))
    points.setflags(write=False)
    return points


def draw_solid_face(view: View, mouth: MouthGeometry, skin: np.ndarray) -> None:
    """Skull and skin down to the moving jaw; the hair on the skull is short, whatever the hair style."""
    scene, unit = view.scene, view.unit
    smooth = scene.style.shading == "smooth"
    skull = _hull(view.solid(_skull(_HAIR)))
    view.fill_lit(skull, scene.palette.hair, feather=0.012 * unit if smooth else 0.0)
    view.outline(skull)
    contour = _face_contour(view, mouth)
    view.canvas.fill(contour, skin, feather=0.008 * unit if smooth else 0.0)
    view.outline(contour)


def _face_contour(view: View, mouth: MouthGeometry) -> np.ndarray:
    """Silhouette of the skin in px, (n, 2)."""
    face = view.scene.face
    front = _mask(face, _HAIR_EDGE).copy()
    hinge = face.nose_y + 0.10
    chin = np.clip((front[:, 1] - hinge) / (face.chin_y - hinge), 0.0, 1.0)
    front[:, 1] += mouth.drop * chin**1.2
    return _hull(view.solid(np.concatenate([front, jaw_outline(face, mouth.drop)])))


def draw_on_visible_side(view: View, mouth: MouthGeometry, draw: Callable[[], None]) -> None:
    """Let `draw` paint on the face, and keep of it what does not reach over the face's horizon."""
    before = view.canvas.rgb.copy()
    draw()
    inside = view.canvas.mask(_face_contour(view, mouth))
    if inside is not None:
        (left, top, right, bottom), alpha = inside
        rows, columns = slice(top, bottom), slice(left, right)
        before[:, rows, columns] += alpha * (view.canvas.rgb[:, rows, columns] - before[:, rows, columns])
    view.canvas.rgb[:] = before


def draw_solid_nose(view: View, skin: np.ndarray) -> None:
    """A nose that stands out of the face: two sides, of which the nearer one hides the other."""
    face, unit, canvas, scene = view.scene.face, view.unit, view.canvas, view.scene
    if view.on_face(np.array([[0.0, face.nose_y]]))[0][1] < canvas.y0 - 0.9 * unit:
        return
    ridge = np.array([(0.0, -0.06), (0.0, face.nose_y - 0.30), (0.0, face.nose_y - 0.10), (0.0, face.nose_y)])
    ridge3 = lift(ridge, np.array([0.03, 0.20, 0.36, 0.26]))
    foot = lift(np.array([(0.0, face.nose_y + 0.05)]), 0.02)
    edge = float(np.sign(view.pose.rotation[0, 2])) or 1.0
    sides = []
    for side in (edge, -edge):  # the far side first
        wing = np.array([(side * face.nose_width, face.nose_y - 0.02), (side * 0.13, 0.05)])
        sides.append(
            np.concatenate([spline(view.solid(ridge3), 5), view.solid(foot), view.on_face(wing, 0.02)])
        )
    smooth = scene.style.shading == "smooth"
    dark = np.asarray(scene.palette.skin, np.float32) * 0.52
    canvas.fill(sides[0], skin * np.float32(0.86), feather=0.010 * unit if smooth else 0.0)
    canvas.fill(sides[1], skin * np.float32(1.02), feather=0.016 * unit if smooth else 0.0)
    line = spline(view.solid(np.concatenate([ridge3[1:], foot])), 5)
    width = max(scene.style.outline, 0.018)
    paint = np.asarray(scene.palette.outline, np.float32) if scene.style.outline >= 0.02 else dark
    canvas.stroke(line, width * unit, paint, opacity=0.35 if smooth else 0.9)
    hole = lift(np.array([(-edge * face.nose_width * 0.5, face.nose_y + 0.015)]), 0.12)[0]
    around = hole + np.array([(-0.06, 0, 0), (0, -0.025, 0.02), (0.06, 0, 0.03), (0, 0.02, 0)])
    canvas.fill(spline(view.solid(around), 4, closed=True), dark * 0.6, opacity=0.8)


def draw_side(view: View) -> None:
    """Hair before the ear and the nearer ear; the other one is hidden."""
    scene, unit = view.scene, view.unit
    near = -(float(np.sign(view.pose.rotation[0, 2])) or 1.0)
    w = near * (scene.face.cheek_width - 0.02)
    smooth = scene.style.shading == "smooth"
    edge = np.array([(0.80, -0.75, 0.62), (0.95, -0.45, 0.42), (0.97, -0.1, 0.34), (0.98, 0.28, 0.22)])
    back = np.array([(0.98, 0.34, 0.0), (0.98, 0.1, -0.5), (0.9, -0.75, -0.3)])
    burns = spline(np.concatenate([edge, back]) * np.array([near, 1.0, 1.0]), 4, closed=True)
    area = view.canvas.mask(view.solid(burns), feather=0.02 * unit if smooth else 0.0)
    inside = intersect(area, view.canvas.mask(_hull(view.solid(_skull(_HAIR)))))
    if inside is not None:
        view.canvas.blend(*inside, np.asarray(scene.palette.hair, np.float32), light=view.light)
    size = scene.ear_size
    t = np.linspace(0, 2 * np.pi, 24, endpoint=False)

    def ear(scale: float) -> np.ndarray:
        z = _EAR_Z + 0.17 * scale * size * np.cos(t) - 0.05 * np.sin(t)
        y = 0.10 + 0.29 * scale * size * np.sin(t)
        return view.solid(np.stack([np.full_like(t, w) - 0.10 * near * np.cos(t) * scale, y, z], axis=1))

    view.fill_lit(ear(1.0), scene.palette.skin, 0.95)
    view.outline(ear(1.0))
    dark = np.asarray(scene.palette.skin, np.float32) * 0.66
    view.canvas.stroke(ear(0.62), 0.03 * unit, dark, opacity=0.6, closed=True)
    if smooth and not scene.style.outline:
        view.canvas.stroke(ear(0.98), 0.02 * unit, dark, opacity=0.35, closed=True)
