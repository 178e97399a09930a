"""The mouth: cavity, tongue, teeth and lips."""

from __future__ import annotations

import numpy as np

from stage1_generator.rendered.draw.canvas import intersect
from stage1_generator.rendered.draw.view import View
from stage1_generator.rendered.geometry import MouthGeometry, lift, spline
from stage1_generator.rendered.visemes import MouthShape

_CAVITY = np.array([52, 16, 20], np.float32)
_TOOTH = np.array([240, 234, 222], np.float32)
_GUM = np.array([176, 92, 92], np.float32)
_TONGUE = np.array([186, 84, 86], np.float32)
_VISIBLE_GAP = 0.004  # head units: less is a closed mouth


def _arch(half_width: float, edge_y: float, far_y: float, sag: float) -> np.ndarray:
    """A row of teeth as a polygon on the face: a curved biting edge and, at `far_y`, the side hidden by the lip."""
    x = np.linspace(-half_width, half_width, 13)
    edge = edge_y + sag * (x / half_width) ** 2
    points = np.concatenate([np.stack([x, edge], axis=1), [[half_width, far_y], [-half_width, far_y]]])
    return lift(points, -0.02)


def _draw_inside(view: View, mouth: MouthGeometry, shape: MouthShape) -> None:
    """What is seen between the lips, cut to the gap."""
    canvas, face, unit = view.canvas, view.scene.face, view.unit
    contour = spline(view.solid(mouth.inner), 6, closed=True)
    gap = canvas.mask(contour)
    if gap is None:
        return
    plain = view.scene.style.shading == "none"
    canvas.blend(*gap, _CAVITY)

    def inside(points: np.ndarray, colour: np.ndarray, opacity: float = 1.0, feather: float = 0.0) -> None:
        covered = canvas.mask(points, feather=feather)
        shared = intersect(covered, gap) if covered is not None else None
        if shared is not None:
            canvas.blend(*shared, colour, opacity)

    upper, lower = float(mouth.inner[2, 1]), float(mouth.inner[6, 1])
    top_y = lower - 0.045 - 0.16 * mouth.gap - shape.tongue * 0.55 * (mouth.gap - 0.02)
    width = mouth.corner * (0.58 - 0.10 * shape.tongue)
    arc = np.linspace(np.pi, 2 * np.pi, 15)
    tongue = np.stack([width * np.cos(arc), top_y + (lower - top_y + 0.1) * (1 + np.sin(arc))], axis=1)
    tongue = np.concatenate([tongue, [[width, lower + 0.2], [-width, lower + 0.2]]])
    inside(view.on_face(tongue, -0.05), _TONGUE, feather=0.0 if plain else 0.012 * unit)
    if not plain:
        crease = np.array([[0.0, top_y + 0.03], [0.0, lower + 0.1]])
        covered = canvas.mask(
            view.on_face(crease, -0.05), width=0.03 * unit, feather=0.012 * unit, closed=False
        )
        shared = intersect(covered, gap) if covered is not None else None
        if shared is not None:
            canvas.blend(*shared, _TONGUE * 0.72, 0.7)
    bottom_edge = lower - (0.022 + 0.045 * shape.spread) * min(1.0, mouth.gap / 0.12) * (
        1 - 0.8 * shape.round
    )
    inside(view.solid(_arch(mouth.corner * 0.62, bottom_edge, lower + 0.2, 0.02)), _TOOTH * 0.90)
    edge_y = face.mouth_y + 0.050 + 0.012 * shape.tuck - 0.035 * shape.round
    edge_y = min(edge_y, lower - 0.006) if shape.tuck < 0.5 else edge_y
    teeth = view.solid(_arch(mouth.corner * 0.80, edge_y, upper - 0.2, -0.05))
    inside(teeth, _TOOTH)
    if view.scene.style.detail > 0:
        for x in (0.0, -0.085, 0.085, -0.165, 0.165):
            line = view.on_face(np.array([[x, upper - 0.1], [x, edge_y - 0.004]]), -0.02)
            covered = canvas.mask(line, width=0.010 * unit, closed=False)
            shared = intersect(covered, gap) if covered is not None else None
            if shared is not None:
                canvas.blend(*shared, _TOOTH * 0.72, 0.45 * view.scene.style.detail)
    if not plain:
        # The upper lip and the corners keep the light out.
        x = np.linspace(-mouth.corner, mouth.corner, 9)
        y = upper + 0.3 * (face.mouth_y - upper) * (x / mouth.corner) ** 2
        line = canvas.mask(
            view.on_face(np.stack([x, y], axis=1)), width=0.05 * unit, feather=0.022 * unit, closed=False
        )
        corners = [
            canvas.mask(view.on_face(c + 0.10 * mouth.corner * _DISC), feather=0.05 * unit)
            for c in (mouth.inner[0, :2], mouth.inner[4, :2])
        ]
        for covered in (line, *corners):
            shared = intersect(covered, gap) if covered is not None else None
            if shared is not None:
                canvas.blend(*shared, _CAVITY, 0.55)


_DISC = np.stack([np.cos(np.arange(12) * np.pi / 6), np.sin(np.arange(12) * np.pi / 6)], axis=1)


def draw_mouth(view: View, mouth: MouthGeometry, shape: MouthShape) -> None:
    """Lips and, where they part, what lies between them."""
    canvas, style, unit = view.canvas, view.scene.style, view.unit
    lips = view.scene.palette.lips
    outer = spline(view.solid(mouth.outer), 6, closed=True)
    smooth = style.shading == "smooth"
    view.fill_lit(outer, lips, feather=0.010 * unit if smooth else 0.0)
    upper_lip = np.concatenate([view.solid(mouth.outer[:7]), view.solid(mouth.inner[4::-1])])
    view.fill_lit(upper_lip, lips, 0.84, feather=0.014 * unit if smooth else 0.0)
    lower_y = 0.5 * (mouth.outer[9, 1] + mouth.inner[6, 1])
    if smooth:
        shine = np.linspace(-0.45, 0.45, 7)
        points = np.stack([shine * mouth.corner, lower_y - 0.01 - 0.06 * shine**2], axis=1)
        bright = np.minimum(np.asarray(lips, np.float32) * 1.25 + 26, 255)
        thick = max(0.02, float(mouth.outer[9, 1] - mouth.inner[6, 1]) * 0.35)
        canvas.stroke(view.on_face(points, 0.05), thick * unit, bright, opacity=0.5, feather=0.018 * unit)
    if mouth.gap > _VISIBLE_GAP:
        _draw_inside(view, mouth, shape)
    seam_strength = float(np.clip(1.0 - mouth.gap / 0.05, 0.0, 1.0))
    dark = (
        np.asarray(lips, np.float32) * 0.36
        if style.outline < 0.02
        else np.asarray(view.scene.palette.outline)
    )
    if seam_strength > 0:
        seam = spline(0.5 * (view.solid(mouth.inner[:5]) + view.solid(mouth.inner[[0, 7, 6, 5, 4]])), 6)
        corners = view.solid(mouth.outer[[0, 6]])
        seam = np.concatenate([corners[:1] * 0.6 + seam[:1] * 0.4, seam, corners[1:] * 0.6 + seam[-1:] * 0.4])
        canvas.stroke(
            seam, 0.030 * unit, dark, opacity=0.9 * seam_strength, feather=0.006 * unit if smooth else 0.0
        )
    if style.outline >= 0.02:
        view.outline(outer, factor=0.7)
        if mouth.gap > _VISIBLE_GAP:
            view.outline(spline(view.solid(mouth.inner), 6, closed=True), factor=0.7)
