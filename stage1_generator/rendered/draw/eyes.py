"""Eyes, brows and glasses."""

from __future__ import annotations

import numpy as np

from stage1_generator.rendered.draw.canvas import ellipse, intersect
from stage1_generator.rendered.draw.view import View
from stage1_generator.rendered.geometry import brow_line, eye_outline, mirror, spline
from stage1_generator.rendered.motion import blink_amount, gaze_direction

_WHITE = np.array([240, 238, 234], np.float32)


def draw_eyes(view: View) -> None:
    """Both eyes with lids, gaze and blinks of the frame."""
    scene = view.scene
    time = scene.time(view.frame_index)
    blink, gaze = blink_amount(scene.seed, time), gaze_direction(scene.seed, time)
    for side in (-1.0, 1.0):
        _draw_eye(view, side, blink, gaze)


def _draw_eye(view: View, side: float, blink: float, gaze: tuple[float, float]) -> None:
    canvas, face, unit, palette = view.canvas, view.scene.face, view.unit, view.scene.palette
    points = eye_outline(face, blink)
    if side < 0:
        points = mirror(points)
    lids = view.solid(points)
    contour = np.concatenate([spline(lids[:4], 6), spline(lids[[3, 4, 5, 0]], 6)[1:-1]])
    smooth = view.scene.style.shading == "smooth"
    opening = canvas.mask(contour)
    dark = np.asarray(palette.outline, np.float32)
    if opening is not None and blink < 0.95:
        canvas.blend(
            *opening, _WHITE * np.float32(0.94 if smooth else 1.0), light=view.light if smooth else None
        )
        centre = np.array(
            [[side * face.eye_x + gaze[0] * 0.32 * face.eye_width, 0.01 + gaze[1] * 0.4 * face.eye_height]]
        )
        middle = view.on_face(centre, -0.08)[0]
        radius = 0.92 * face.eye_height * unit
        iris = np.asarray(palette.iris, np.float32)
        rings = [(1.0, iris * 0.55), (0.84, iris), (0.42, np.array([14, 12, 14], np.float32))]
        for share, colour in rings:
            disc = canvas.mask(ellipse(middle, radius * share, radius * share))
            shared = intersect(disc, opening) if disc is not None else None
            if shared is not None:
                canvas.blend(*shared, colour)
        glint = middle + np.array([0.3, -0.35]) * radius
        disc = canvas.mask(ellipse(glint, 0.2 * radius, 0.2 * radius))
        shared = intersect(disc, opening) if disc is not None else None
        if shared is not None:
            canvas.blend(*shared, np.array([252, 252, 252], np.float32))
        if smooth:
            lid = canvas.mask(spline(lids[:4], 6), width=0.05 * unit, feather=0.02 * unit, closed=False)
            shared = intersect(lid, opening) if lid is not None else None
            if shared is not None:
                canvas.blend(*shared, dark, 0.45)
    lash = 0.026 if smooth else 0.036
    canvas.stroke(spline(lids[:4], 6), lash * unit, dark, opacity=0.85)
    if smooth:
        fold = points[:4] + np.array([0.0, -0.45 * face.eye_height, 0.0])
        shade = np.asarray(palette.skin, np.float32) * 0.55
        canvas.stroke(spline(view.solid(fold), 6), 0.02 * unit, shade, opacity=0.5, feather=0.008 * unit)
        canvas.stroke(spline(lids[[3, 4, 5, 0]], 6), 0.012 * unit, shade, opacity=0.6)


def draw_brows(view: View, raise_: float) -> None:
    face, unit = view.scene.face, view.unit
    colour = np.asarray(view.scene.palette.brow, np.float32)
    thick = np.array([0.055, 0.065, 0.058, 0.040, 0.012]) * (0.8 + 4.0 * face.brow_arch)
    smooth = view.scene.style.shading == "smooth"
    for side in (-1.0, 1.0):
        line = brow_line(face, raise_)
        upper, lower = line.copy(), line.copy()
        upper[:, 1] -= thick
        lower[:, 1] += thick
        if side < 0:
            upper, lower = mirror(upper), mirror(lower)
        shape = np.concatenate([spline(view.solid(upper), 4), spline(view.solid(lower)[::-1], 4)])
        view.canvas.fill(shape, colour, opacity=0.9, feather=0.016 * unit if smooth else 0.0)


def draw_glasses(view: View) -> None:
    """Frames of the scene's kind; nothing for "none"."""
    scene, face, unit, canvas = view.scene, view.scene.face, view.unit, view.canvas
    if scene.glasses == "none":
        return
    dark = np.asarray(scene.palette.accent, np.float32) * 0.45
    width = (0.022 if scene.glasses == "thin" else 0.050) * unit
    power = 2.0 if scene.glasses == "round" else 3.5
    t = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    c, s = np.cos(t), np.sin(t)
    rim = np.stack(
        [0.36 * np.sign(c) * np.abs(c) ** (2 / power), 0.29 * np.sign(s) * np.abs(s) ** (2 / power)], axis=1
    )
    for side in (-1.0, 1.0):
        lens = view.on_face(rim + [side * face.eye_x, 0.03], 0.14)
        canvas.fill(lens, np.array([225, 235, 245], np.float32), opacity=0.10)
        canvas.stroke(lens, width, dark, closed=True)
        hinge = np.array([[side * (face.eye_x + 0.36), -0.03]])
        temple = np.concatenate(
            [view.on_face(hinge, 0.14), view.at_depth(np.array([[side * 1.04, -0.06]]), 0.0)]
        )
        canvas.stroke(temple, width, dark)
    inner = face.eye_x - 0.36
    bridge = np.array([[-inner, -0.02], [0.0, -0.07], [inner, -0.02]])
    canvas.stroke(view.on_face(bridge, 0.16), width, dark)
