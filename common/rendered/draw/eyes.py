"""Eyes, brows and glasses."""

from __future__ import annotations

import numpy as np

from common.rendered.draw.canvas import Mask, ellipse, intersect
from common.rendered.draw.view import View
from common.rendered.geometry import brow_line, eye_outline, mirror, spline
from common.rendered.motion import blink_amount, gaze_direction

_WHITE = np.array([240, 238, 234], np.float32)
_PUPIL = np.array([14, 12, 14], np.float32)
_GLINT = np.array([252, 252, 252], np.float32)


def draw_eyes(view: View) -> None:
    """Both eyes with lids, gaze and blinks of the frame."""
    scene, canvas, face, unit, palette = (
        view.scene,
        view.canvas,
        view.scene.face,
        view.unit,
        view.scene.palette,
    )
    time = scene.time(view.frame_index)
    blink, (gaze_x, gaze_y) = blink_amount(scene.seed, time), gaze_direction(scene.seed, time)
    outline = eye_outline(face, blink)
    both = (mirror(outline), outline)
    lids = [view.solid(points) for points in both]
    upper = [spline(points[:4], 6) for points in lids]
    lower = [spline(points[[3, 4, 5, 0]], 6) for points in lids]
    smooth = scene.style.shading == "smooth"
    dark = np.asarray(palette.outline, np.float32)
    opening = canvas.mask([np.concatenate([a, b[1:-1]]) for a, b in zip(upper, lower, strict=True)])
    if opening is not None and blink < 0.95:
        canvas.blend(
            *opening, _WHITE * np.float32(0.94 if smooth else 1.0), light=view.light if smooth else None
        )

        def inside(covered: Mask | None, colour: np.ndarray, opacity: float = 1.0) -> None:
            shared = intersect(covered, opening)
            if shared is not None:
                canvas.blend(*shared, colour, opacity)

        offset = np.array([gaze_x * 0.32 * face.eye_width, 0.01 + gaze_y * 0.4 * face.eye_height])
        centres = np.array([[side * face.eye_x, 0.0] for side in (-1.0, 1.0)]) + offset
        middles = view.on_face(centres, -0.08)
        radius = 0.92 * face.eye_height * unit
        iris = np.asarray(palette.iris, np.float32)
        for share, colour in ((1.0, iris * 0.55), (0.84, iris), (0.42, _PUPIL)):
            inside(canvas.mask([ellipse(m, radius * share, radius * share) for m in middles]), colour)
        glints = middles + np.array([0.3, -0.35]) * radius
        inside(canvas.mask([ellipse(m, 0.2 * radius, 0.2 * radius, count=12) for m in glints]), _GLINT)
        if smooth:
            inside(canvas.mask(upper, width=0.05 * unit, feather=0.02 * unit, closed=False), dark, 0.45)
    canvas.stroke(upper, (0.026 if smooth else 0.036) * unit, dark, opacity=0.85)
    if smooth:
        shade = np.asarray(palette.skin, np.float32) * 0.55
        raised = np.array([0.0, -0.45 * face.eye_height, 0.0])
        folds = [spline(view.solid(points[:4] + raised), 6) for points in both]
        canvas.stroke(folds, 0.02 * unit, shade, opacity=0.5, feather=0.008 * unit)
        canvas.stroke(lower, 0.012 * unit, shade, opacity=0.6)


def draw_brows(view: View, raise_: float) -> None:
    face, unit = view.scene.face, view.unit
    colour = np.asarray(view.scene.palette.brow, np.float32)
    thick = np.array([0.055, 0.065, 0.058, 0.040, 0.012]) * (0.8 + 4.0 * face.brow_arch)
    smooth = view.scene.style.shading == "smooth"
    line = brow_line(face, raise_)
    upper, lower = line.copy(), line.copy()
    upper[:, 1] -= thick
    lower[:, 1] += thick
    shapes = [
        np.concatenate([spline(view.solid(a), 4), spline(view.solid(b)[::-1], 4)])
        for a, b in ((upper, lower), (mirror(upper), mirror(lower)))
    ]
    view.canvas.fill(shapes, colour, opacity=0.9, feather=0.016 * unit if smooth else 0.0)


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
    lenses = [view.on_face(rim + np.array([side * face.eye_x, 0.03]), 0.14) for side in (-1.0, 1.0)]
    canvas.fill(lenses, np.array([225, 235, 245], np.float32), opacity=0.10)
    canvas.stroke(lenses, width, dark, closed=True)
    for side in (-1.0, 1.0):
        hinge = np.array([[side * (face.eye_x + 0.36), -0.03]])
        temple = np.concatenate(
            [view.on_face(hinge, 0.14), view.at_depth(np.array([[side * 1.04, -0.06]]), 0.0)]
        )
        canvas.stroke(temple, width, dark)
    inner = face.eye_x - 0.36
    bridge = np.array([[-inner, -0.02], [0.0, -0.07], [inner, -0.02]])
    canvas.stroke(view.on_face(bridge, 0.16), width, dark)
