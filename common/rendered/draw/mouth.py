"""The mouth: cavity, tongue, teeth and lips."""

from __future__ import annotations

import numpy as np

from common.rendered.draw.canvas import Mask, ellipse, intersect
from common.rendered.draw.view import View
from common.rendered.geometry import MouthGeometry, lift, spline
from common.rendered.visemes import MouthShape

_CAVITY = np.array([52, 16, 20], np.float32)
_TOOTH = np.array([240, 234, 222], np.float32)
_TONGUE = np.array([186, 84, 86], np.float32)
_ARC = np.stack(
    [np.cos(np.linspace(np.pi, 2 * np.pi, 15)), np.sin(np.linspace(np.pi, 2 * np.pi, 15))], axis=1
)
_ACROSS = np.linspace(-1.0, 1.0, 9)
_TOOTH_EDGES = (0.0, -0.085, 0.085, -0.165, 0.165)
_VISIBLE_GAP = 0.004  # head units: less is a closed mouth


def _arch(half_width: float, edge_y: float, far_y: float, sag: float) -> np.ndarray:
    """A row of teeth as a polygon: a curved biting edge and, at `far_y`, the side that a lip hides."""
    x = np.linspace(-half_width, half_width, 13)
    edge = edge_y + sag * (x / half_width) ** 2
    points = np.concatenate([np.stack([x, edge], axis=1), [[half_width, far_y], [-half_width, far_y]]])
    return lift(points, -0.02)


def _draw_inside(view: View, mouth: MouthGeometry, shape: MouthShape) -> None:
    """What is seen between the lips, cut to the gap."""
    canvas, face, unit = view.canvas, view.scene.face, view.unit
    gap = canvas.mask(spline(view.solid(mouth.inner), 6, closed=True))
    if gap is None:
        return
    plain = view.scene.style.shading == "none"
    canvas.blend(*gap, _CAVITY)

    def inside(covered: Mask | None, colour: np.ndarray, opacity: float = 1.0) -> None:
        shared = intersect(covered, gap)
        if shared is not None:
            canvas.blend(*shared, colour, opacity)

    upper, lower = float(mouth.inner[2, 1]), float(mouth.inner[6, 1])
    top_y = lower - 0.045 - 0.16 * mouth.gap - shape.tongue * 0.55 * max(mouth.gap - 0.02, 0.0)
    width = mouth.corner * (0.58 - 0.10 * shape.tongue)
    dome = np.stack([width * _ARC[:, 0], top_y + (lower - top_y + 0.1) * (1 + _ARC[:, 1])], axis=1)
    tongue = np.concatenate([dome, [[width, lower + 0.2], [-width, lower + 0.2]]])
    inside(canvas.mask(view.on_face(tongue, -0.05), feather=0.0 if plain else 0.012 * unit), _TONGUE)
    if not plain:
        crease = view.on_face(np.array([[0.0, top_y + 0.03], [0.0, lower + 0.1]]), -0.05)
        covered = canvas.mask(crease, width=0.03 * unit, feather=0.012 * unit, closed=False)
        inside(covered, _TONGUE * 0.72, 0.7)
    shown = (0.022 + 0.045 * shape.spread) * min(1.0, mouth.gap / 0.12) * (1 - 0.8 * shape.round)
    inside(
        canvas.mask(view.solid(_arch(mouth.corner * 0.62, lower - shown, lower + 0.2, 0.02))), _TOOTH * 0.90
    )
    # The upper teeth belong to the skull: they stay where they are and the lips uncover them.
    edge_y = face.mouth_y + 0.050 + 0.012 * shape.tuck - 0.035 * shape.round
    inside(canvas.mask(view.solid(_arch(mouth.corner * 0.80, edge_y, upper - 0.2, -0.05))), _TOOTH)
    if view.scene.style.detail > 0:
        lines = [view.on_face(np.array([[x, upper - 0.1], [x, edge_y - 0.004]]), -0.02) for x in _TOOTH_EDGES]
        covered = canvas.mask(lines, width=0.010 * unit, closed=False)
        inside(covered, _TOOTH * 0.72, 0.45 * view.scene.style.detail)
    if not plain:
        # The upper lip and the corners keep the light out.
        y = upper + 0.3 * (face.mouth_y - upper) * _ACROSS**2
        edge = view.on_face(np.stack([mouth.corner * _ACROSS, y], axis=1))
        inside(canvas.mask(edge, width=0.05 * unit, feather=0.022 * unit, closed=False), _CAVITY, 0.55)
        radius = 0.10 * mouth.corner * unit
        ends = [ellipse(point, radius, radius, count=12) for point in view.solid(mouth.inner[[0, 4]])]
        inside(canvas.mask(ends, feather=0.05 * unit), _CAVITY, 0.55)


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
