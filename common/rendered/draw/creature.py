"""Heads that are not human: ears, muzzles, fur, plates. Eyes, mouth and landmarks stay where they are."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from common.rendered.draw.canvas import ellipse
from common.rendered.draw.view import View
from common.rendered.geometry import FaceShape, MouthGeometry, jaw_outline, lift, mirror, spline

FURRY = ("cat", "bear", "rabbit")
_DARK = np.array([34, 26, 28], np.float32)
_METAL_LINE = 0.55


def _both(points: np.ndarray) -> list[np.ndarray]:
    return [np.asarray(points, dtype=np.float64), mirror(points)]


def _ear_pairs(kind: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Outer and inner outlines of both ears, flat head points."""
    if kind == "cat":
        outer = np.array([(0.30, -1.36), (0.62, -1.86), (0.98, -2.12), (1.14, -1.5), (1.04, -0.75)])
        inner = np.array([(0.48, -1.38), (0.70, -1.70), (0.92, -1.90), (0.99, -1.45), (0.92, -0.95)])
        return _both(spline(outer, 5)), _both(spline(inner, 5))
    if kind == "bear":
        middle = np.array([0.92, -1.28])
        return _both(ellipse(middle, 0.42, 0.42)), _both(ellipse(middle + np.array([0.02, 0.03]), 0.24, 0.24))
    outer = np.array([(0.22, -1.3), (0.20, -2.1), (0.42, -2.75), (0.74, -2.2), (0.74, -1.2)])
    inner = np.array([(0.36, -1.35), (0.35, -2.05), (0.45, -2.5), (0.60, -2.1), (0.60, -1.3)])
    return _both(spline(outer, 6)), _both(spline(inner, 6))


def draw_creature_ears(view: View) -> None:
    """What stands out of the head: ears, antennae, bolts. Drawn before the face."""
    scene, unit, kind = view.scene, view.unit, view.scene.creature
    if kind in FURRY:
        _draw_cheek_fur(view)
        outer, inner = _ear_pairs(str(kind))
        shapes = [view.at_depth(points, -0.15) for points in outer]
        view.fill_lit(shapes, scene.palette.hair, 0.95)
        view.outline(shapes)
        view.fill_lit([view.at_depth(points, -0.12) for points in inner], scene.palette.accent, 0.95)
        return
    stalk = np.asarray(scene.palette.hair, np.float32)
    roots = [(0.0, -1.3)] if kind == "robot" else [(0.42, -1.3), (-0.42, -1.3)]
    for x, y in roots:
        top = np.array([x * 1.7, y - 0.72])
        bend = np.array([(x, y), (x * 1.15, y - 0.4), tuple(top)])
        view.canvas.stroke(view.at_depth(spline(bend, 6), -0.1), 0.09 * unit, stalk)
        ball = ellipse(view.at_depth(top[None], -0.1)[0], 0.14 * unit, 0.14 * unit)
        view.fill_lit(ball, scene.palette.accent)
        view.outline(ball)
    if kind == "robot":
        w = scene.face.cheek_width
        box = np.array([(w - 0.1, -0.22), (w + 0.22, -0.18), (w + 0.22, 0.42), (w - 0.1, 0.46)])
        shapes = [view.at_depth(points, 0.0) for points in _both(box)]
        view.fill_lit(shapes, scene.palette.hair)
        view.outline(shapes)
        # The head is a box: corners beyond the round skull.
        crown = np.array([(w, 0.2), (w * 0.99, -1.1), (w * 0.90, -1.34), (0.0, -1.46)])
        shell = np.concatenate([crown, mirror(crown)[-2::-1]])
        view.fill_lit(view.at_depth(shell, 0.0), scene.palette.skin)
        view.outline(view.at_depth(shell, 0.0))


def _draw_cheek_fur(view: View) -> None:
    """Tufts that stand off cheeks and jaw."""
    face = view.scene.face
    outline = jaw_outline(face, 0.0)[1:7, :2]
    tips = outline * np.array([1.0, 1.0]) + np.array([-0.26, 0.10])
    zigzag = np.stack([outline, tips], axis=1).reshape(-1, 2)[:-1]
    closed = np.concatenate([zigzag, [[0.0, 1.0], [0.0, 0.0]]])
    shapes = [view.at_depth(points, 0.05) for points in _both(closed)]
    view.fill_lit(shapes, view.scene.palette.skin, 0.92)
    view.outline(shapes)


@lru_cache(maxsize=16)
def _fur_strokes(seed: int, count: int) -> np.ndarray:
    """Short hairs on the face, away from eyes and mouth: start and end (count, 2, 2), flat head points."""
    rng = np.random.default_rng([seed, 0xF0A7])
    start = rng.uniform((-0.92, -1.15), (0.92, 0.75), (4 * count, 2))
    free = (np.abs(start[:, 0]) < 0.95 - 0.25 * np.abs(start[:, 1])) & (
        np.hypot((np.abs(start[:, 0]) - 0.45) / 0.34, start[:, 1] / 0.26) > 1
    )
    start = start[free & ~((np.abs(start[:, 0]) < 0.6) & (start[:, 1] > 0.35))][:count]
    away = start - np.array([0.0, 0.55])
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    return np.stack([start, start + away * rng.uniform(0.06, 0.13, (len(start), 1))], axis=1)


def _draw_fur(view: View) -> None:
    scene, unit = view.scene, view.unit
    strokes = _fur_strokes(scene.seed, 140 if scene.style.detail else 36)
    points = view.on_face(strokes.reshape(-1, 2)).reshape(strokes.shape)
    skin = np.asarray(scene.palette.skin, np.float32)
    half = len(points) // 2
    view.canvas.stroke(list(points[:half]), 0.022 * unit, skin * 0.72, opacity=0.5)
    view.canvas.stroke(list(points[half:]), 0.022 * unit, np.minimum(skin * 1.18 + 12, 255), opacity=0.5)
    if scene.creature == "cat":
        stripe = [(0.0, -1.12), (0.0, -0.55)], [(0.26, -1.08), (0.20, -0.62)], [(0.98, 0.16), (0.66, 0.24)]
        lines = [np.array(line) for line in (*stripe, [(0.96, 0.42), (0.68, 0.42)])]
        lines += [mirror(line) for line in lines[1:]]
        hair = np.asarray(scene.palette.hair, np.float32) * 0.6
        view.canvas.stroke([view.on_face(line) for line in lines], 0.085 * unit, hair, opacity=0.75)


def _pads(face: FaceShape, mouth: MouthGeometry, kind: str) -> tuple[list[np.ndarray], np.ndarray]:
    """The two pads beside the nose and the chin under the mouth, flat; the chin moves with the jaw."""
    wide = {"cat": 0.36, "bear": 0.34, "rabbit": 0.32}[kind]
    y = 0.5 * (face.nose_y + face.mouth_y) + 0.02
    pads = _both(ellipse(np.array([0.62 * wide, y]), wide, 0.27))
    low = float(mouth.outer[9, 1])
    chin = ellipse(
        np.array([0.0, 0.5 * (y + low)]), mouth.corner * 0.95 + 0.10, 0.5 * (low - y) + 0.13, count=36
    )
    return pads, chin


def draw_muzzle(view: View, mouth: MouthGeometry) -> None:
    """What a creature has in the place of a nose, and the surface of its face. Drawn before the mouth."""
    scene, unit, face, kind = view.scene, view.unit, view.scene.face, view.scene.creature
    smooth = scene.style.shading == "smooth"
    if kind not in FURRY:
        _draw_plates(view, mouth)
        return
    _draw_fur(view)
    light = np.minimum(np.asarray(scene.palette.skin, np.float32) * 0.45 + 138, 250)
    pads, chin = _pads(face, mouth, str(kind))
    feather = 0.03 * unit if smooth else 0.0
    view.fill_lit([view.on_face(points, 0.03) for points in (*pads, chin)], tuple(light), feather=feather)
    wide, high = (0.20, 0.13) if kind == "bear" else (0.14, 0.10)
    y = face.nose_y - 0.06
    tip = np.array(
        [(-wide, y - high * 0.7), (0.0, y - high), (wide, y - high * 0.7), (0.55 * wide, y + high * 0.4)]
    )
    tip = np.concatenate([tip, [(0.0, y + high), (-0.55 * wide, y + high * 0.4)]])
    nose = np.asarray(scene.palette.accent, np.float32) * 0.75 if kind != "bear" else _DARK
    shape = view.on_face(spline(tip, 5, closed=True), 0.22)
    view.canvas.fill(shape, nose, feather=0.008 * unit if smooth else 0.0)
    gleam = view.on_face(
        ellipse(np.array([-0.3 * wide, y - 0.5 * high]), 0.3 * wide, 0.2 * high, count=12), 0.22
    )
    view.canvas.fill(gleam, np.array([250, 240, 240], np.float32), opacity=0.5)
    split = lift(np.array([(0.0, y + high), (0.0, float(mouth.outer[3, 1]))]), np.array([0.2, 0.06]))
    view.canvas.stroke(view.solid(split), 0.028 * unit, _DARK, opacity=0.8)


def _draw_plates(view: View, mouth: MouthGeometry) -> None:
    """Seams and rivets of a robot; spots and slits of an alien."""
    scene, unit, face = view.scene, view.unit, view.scene.face
    dark = np.asarray(scene.palette.skin, np.float32) * _METAL_LINE
    if scene.creature == "alien":
        rng = np.random.default_rng([scene.seed, 0xA11E])
        spots = rng.uniform((-0.6, -1.2), (0.6, -0.45), (9, 2))
        sizes = rng.uniform(0.03, 0.09, 9)
        shapes = [view.on_face(ellipse(at, r, r, count=14)) for at, r in zip(spots, sizes, strict=True)]
        view.canvas.fill(shapes, dark * 1.3, opacity=0.6)
        slits = _both(np.array([(0.05, face.nose_y - 0.10), (0.08, face.nose_y + 0.02)]))
        view.canvas.stroke([view.on_face(line, 0.05) for line in slits], 0.035 * unit, dark * 0.7)
        return
    brow = np.array([(-1.0, -0.50), (-0.4, -0.56), (0.4, -0.56), (1.0, -0.50)])
    sides = np.array([(0.62, 0.30), (0.66, 0.75), (0.52, 1.02 * face.chin_y)])
    view.canvas.stroke([view.on_face(spline(line, 5)) for line in (brow, *_both(sides))], 0.03 * unit, dark)
    rivets = np.array([(0.82, -0.42), (0.80, 0.35), (0.70, 0.9), (0.30, -1.1), (0.75, -0.85)])
    bolts = [
        ellipse(at, 0.035 * unit, 0.035 * unit, count=10) for p in _both(rivets) for at in view.on_face(p)
    ]
    view.canvas.fill(bolts, dark)
    y = face.nose_y - 0.16
    grille = [np.array([(-0.12, y + 0.09 * i), (0.12, y + 0.09 * i)]) for i in range(3)]
    view.canvas.stroke([view.on_face(line, 0.02) for line in grille], 0.035 * unit, dark * 0.6)
    plate = mouth.outer[:, :2] * np.array([1.22, 1.0])
    middle = plate[:, 1].mean()
    plate[:, 1] = middle + 1.35 * (plate[:, 1] - middle)
    view.canvas.fill(view.on_face(spline(plate, 5, closed=True)), dark * 0.9)


def draw_whiskers(view: View) -> None:
    """Long hairs beside the nose, over everything."""
    scene, unit = view.scene, view.unit
    if scene.creature not in ("cat", "rabbit"):
        return
    y = 0.5 * (scene.face.nose_y + scene.face.mouth_y)
    lines = []
    for i, angle in enumerate((-0.22, 0.0, 0.22)):
        root = np.array([0.34, y - 0.06 + 0.06 * i])
        far = root + 0.95 * np.array([np.cos(angle), np.sin(angle) + 0.05])
        bend = 0.5 * (root + far) + np.array([0.0, -0.05])
        lines += _both(np.stack([root, bend, far]))
    shapes = [view.solid(np.column_stack([spline(line, 6), np.full(13, 0.9)])) for line in lines]
    view.canvas.stroke(shapes, 0.014 * unit, np.array([246, 244, 240], np.float32), opacity=0.8)
