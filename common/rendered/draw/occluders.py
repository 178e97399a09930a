"""Things that pass in front of the mouth."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from common.rendered.draw.canvas import ellipse
from common.rendered.draw.view import View
from common.rendered.geometry import spline
from common.rendered.scene import OccluderMotion

_AWAY = np.array([0.5, 3.6])  # head units from the mouth: below the picture's edge


def away(occluder: OccluderMotion) -> np.ndarray:
    """Where the thing is while it is away: (2,) head units from its place before the mouth."""
    return _AWAY * [occluder.side, 1.0] + [0.0, occluder.further]


def draw_occluder(view: View) -> None:
    """Draw the scene's occluder where it is in this frame."""
    occluder = view.scene.occluder
    if occluder is None:
        return
    time = view.scene.time(view.frame_index)
    here = occluder.presence(time)
    if here <= 0.0:
        return
    target = view.on_face(np.array([[0.0, view.scene.face.mouth_y]]), 0.3)[0] / view.unit
    wobble = np.array([occluder.wobble_x(time), occluder.wobble_y(time)])
    anchor = target + wobble + [0.0, occluder.reach] + (1.0 - here) * away(occluder)
    angle = occluder.tilt + 0.4 * occluder.side * (1.0 - here) + 0.15 * wobble[0]
    c, s = np.cos(angle), np.sin(angle)

    def place(points: np.ndarray) -> np.ndarray:
        """Points around the mouth in head units -> px; `side` decides from which side it comes."""
        flipped = np.asarray(points, dtype=np.float64) * [occluder.side, 1.0]
        turned = np.stack(
            [c * flipped[:, 0] - s * flipped[:, 1], s * flipped[:, 0] + c * flipped[:, 1]], axis=1
        )
        return (turned + anchor) * view.unit

    {"hand": _draw_hand, "microphone": _draw_microphone, "cup": _draw_cup}[occluder.kind](
        view, occluder, place
    )


Place = Callable[[np.ndarray], np.ndarray]


def _fingers(
    view: View, place: Place, paths: list[list[tuple[float, float]]], width: float, skin: np.ndarray
) -> None:
    """Fingers as thick lines with a darker rim, drawn one over the other."""
    smooth = view.scene.style.shading == "smooth"
    for path in paths:
        line = place(spline(np.array(path), 6))
        view.canvas.stroke(line, (width + 0.030) * view.unit, skin * 0.62, opacity=0.9)
        view.canvas.stroke(line, width * view.unit, skin)
        if smooth:
            view.canvas.stroke(
                line - [0.0, 0.03 * view.unit],
                width * 0.4 * view.unit,
                np.minimum(skin * 1.10, 255),
                opacity=0.6,
                feather=0.03 * view.unit,
            )
        nail = place(ellipse(np.array(path[-1]), width * 0.28, width * 0.34, count=12))
        view.canvas.fill(nail, np.minimum(skin * 1.12 + 8, 255), opacity=0.8)


def _draw_hand(view: View, occluder: OccluderMotion, place: Place) -> None:
    """A hand raised before the mouth, fingers across it, the arm going down and out."""
    skin = np.asarray(occluder.colour, np.float32) * 0.96
    end = 3.8 + occluder.further
    arm = spline(np.array([(0.45, 0.55), (0.65, 1.3), (1.1, end), (2.0, end), (1.35, 1.2), (1.05, 0.35)]), 5)
    view.canvas.fill(place(arm), skin * 0.93)
    view.outline(place(arm))
    palm = place(
        spline(
            np.array([(0.25, -0.22), (0.95, -0.25), (1.15, 0.25), (0.95, 0.75), (0.45, 0.72), (0.22, 0.3)]),
            6,
            closed=True,
        )
    )
    view.canvas.fill(palm, skin)
    view.outline(palm)
    fingers = [
        [(0.62, 0.40), (0.1, 0.44), (-0.36, 0.36)],
        [(0.60, 0.22), (0.0, 0.22), (-0.58, 0.12)],
        [(0.60, 0.02), (0.0, -0.02), (-0.62, -0.12)],
        [(0.62, -0.16), (0.1, -0.24), (-0.44, -0.36)],
    ]
    _fingers(view, place, fingers, 0.215, skin)
    _fingers(view, place, [[(0.95, 0.1), (0.85, -0.30), (0.62, -0.62)]], 0.23, skin)


def _draw_microphone(view: View, occluder: OccluderMotion, place: Place) -> None:
    """A hand microphone: wire ball at the lips, body and holding hand below."""
    canvas, unit = view.canvas, view.unit
    body = np.array([34, 34, 38], np.float32)
    ball = np.array([92, 94, 100], np.float32)
    skin = np.asarray(view.scene.palette.skin, np.float32) * 0.94
    if occluder.further > 0:  # a scene's own picture ends at the fingers
        end = 3.8 + occluder.further
        arm = [(0.0, 1.1), (0.45, 1.05), (0.72, 1.5), (1.5, end), (0.6, end), (0.05, 2.0)]
        canvas.fill(place(spline(np.array(arm), 5, closed=True)), skin * 0.93)
    handle = place(np.array([(-0.17, 0.2), (0.17, 0.2), (0.34, 2.9), (0.06, 2.9)]))
    canvas.fill(handle, body)
    canvas.stroke(
        place(np.array([(-0.03, 0.3), (0.15, 2.4)])), 0.05 * unit, body + 50, opacity=0.7, feather=0.02 * unit
    )
    head = place(ellipse(np.array([0.0, 0.02]), 0.36, 0.40, count=36))
    canvas.fill(head, ball)
    light = place(ellipse(np.array([-0.11, -0.12]), 0.16, 0.17))
    canvas.fill(light, np.array([176, 178, 184], np.float32), opacity=0.75, feather=0.06 * unit)
    for offset in (-0.2, -0.07, 0.07, 0.2):
        half = 0.36 * np.sqrt(1 - (offset / 0.38) ** 2)
        canvas.stroke(
            place(np.array([(-half, offset), (half, offset + 0.03)])), 0.02 * unit, ball * 0.55, opacity=0.6
        )
        canvas.stroke(
            place(np.array([(offset, -half), (offset + 0.02, half)])), 0.02 * unit, ball * 0.55, opacity=0.6
        )
    band = np.asarray(occluder.colour, np.float32)
    canvas.stroke(place(np.array([(-0.26, 0.38), (0.27, 0.38)])), 0.12 * unit, band)
    view.outline(head)
    _fingers(
        view,
        place,
        [[(0.4, 1.15 + 0.2 * i), (0.15, 1.12 + 0.2 * i), (-0.14, 1.16 + 0.2 * i)] for i in range(4)],
        0.19,
        skin,
    )


def _draw_cup(view: View, occluder: OccluderMotion, place: Place) -> None:
    """A mug with its rim at the upper lip."""
    canvas, unit = view.canvas, view.unit
    colour = np.asarray(occluder.colour, np.float32)
    ring = place(ellipse(np.array([0.66, 0.50]), 0.26, 0.32))
    canvas.stroke(ring, 0.12 * unit, colour * 0.78, closed=True)
    sides = np.array(
        [(-0.56, -0.12), (-0.50, 0.96), (-0.3, 1.06), (0.0, 1.09), (0.3, 1.06), (0.50, 0.96), (0.56, -0.12)]
    )
    wall = place(sides)
    canvas.fill(wall, colour)
    shade = place(np.array([(0.16, -0.12), (0.18, 1.07), (0.50, 0.96), (0.56, -0.12)]))
    if view.scene.style.shading != "none":
        canvas.fill(shade, colour * 0.76, opacity=0.8, feather=0.05 * unit)
        gloss = place(np.array([(-0.36, 0.05), (-0.33, 0.85)]))
        canvas.stroke(
            gloss, 0.09 * unit, np.minimum(colour * 1.25 + 30, 255), opacity=0.55, feather=0.03 * unit
        )
    view.outline(wall)
    rim = place(ellipse(np.array([0.0, -0.12]), 0.57, 0.12, count=36))
    canvas.fill(rim, colour * 0.6)
    canvas.stroke(rim, 0.045 * unit, np.minimum(colour * 1.12 + 12, 255), closed=True)
    skin = np.asarray(view.scene.palette.skin, np.float32) * 0.95
    _fingers(
        view,
        place,
        [[(0.98, 0.26 + 0.19 * i), (0.74, 0.24 + 0.19 * i), (0.44, 0.27 + 0.19 * i)] for i in range(4)],
        0.19,
        skin,
    )
    end = 3.6 + occluder.further
    arm = place(
        spline(np.array([(0.85, 0.2), (1.25, 0.25), (2.0, end), (1.3, end), (0.85, 1.0)]), 4, closed=True)
    )
    canvas.fill(arm, skin * 0.95)
