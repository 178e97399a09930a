"""Body, ears, face, nose and beard."""

from __future__ import annotations

import numpy as np

from common.rendered.draw.canvas import ellipse, intersect
from common.rendered.draw.view import View
from common.rendered.geometry import MouthGeometry, jaw_outline, mirror, spline


def skull_arc(widen: float, start: float = 0.0, stop: float = np.pi, count: int = 25) -> np.ndarray:
    """Outline of the skull in head units from picture right over the top to the left, `widen` outside it."""
    t = np.linspace(start, stop, count)
    return np.stack([(1.02 + widen) * np.cos(t), -0.25 - (1.24 + widen) * np.sin(t)], axis=1)


def draw_body(view: View) -> None:
    """Neck, shoulders and clothes; they follow the head's place but not its turning."""
    scene, unit, canvas = view.scene, view.unit, view.canvas
    palette = scene.palette
    smooth = scene.style.shading == "smooth"
    neck_root = view.solid(np.array([[0.0, 1.25, -0.35]]))[0]
    rest = np.array([scene.centre[0], scene.centre[1] + 1.58 * unit])
    base = 0.35 * (neck_root + np.array([0.0, 1.0 * unit])) + 0.65 * rest

    def at(x: float, y: float) -> list[float]:
        return [base[0] + x * unit, base[1] + y * unit]

    half_neck = 0.44 + 0.10 * (scene.face.jaw_width - 0.68) / 0.2
    neck = np.array(
        [
            [neck_root[0] - half_neck * unit, neck_root[1] - 0.5 * unit],
            [neck_root[0] - half_neck * unit, neck_root[1] + 0.2 * unit],
            at(-half_neck - 0.12, 0.35),
            at(0.0, 1.0),
            at(half_neck + 0.12, 0.35),
            [neck_root[0] + half_neck * unit, neck_root[1] + 0.2 * unit],
            [neck_root[0] + half_neck * unit, neck_root[1] - 0.5 * unit],
        ]
    )
    shoulders = spline(
        np.array(
            [
                *(at(-3.2, 3.2), at(-2.35, 1.35), at(-1.6, 0.62), at(-0.75, 0.32), at(-0.46, 0.05)),
                *(at(0.46, 0.05), at(0.75, 0.32), at(1.6, 0.62), at(2.35, 1.35), at(3.2, 3.2)),
            ]
        ),
        5,
    )
    cloth = np.asarray(palette.clothes, np.float32)
    skin = np.asarray(palette.skin, np.float32) * np.float32(0.86 if smooth else 0.88)
    canvas.fill(shoulders, cloth)
    view.outline(shoulders, closed=False)
    if smooth:
        lit_side = -np.sign(scene.light.direction[0]) or 1.0
        dark_side = np.array(
            [
                at(lit_side * 0.9, 0.5),
                at(lit_side * 1.5, 2.6),
                at(lit_side * 4.0, 3.0),
                at(lit_side * 2.4, 0.4),
            ]
        )
        shared = intersect(canvas.mask(dark_side, feather=0.30 * unit), canvas.mask(shoulders))
        if shared is not None:
            canvas.blend(*shared, cloth * 0.7, 0.6)
    opening = {"round": (0.60, 0.55), "vee": (0.55, 1.15), "collar": (0.50, 0.75), "high": (0.47, 0.22)}[
        scene.neckline
    ]
    collar = spline(np.array([at(-opening[0], 0.12), at(0.0, opening[1]), at(opening[0], 0.12)]), 8)
    if scene.neckline in ("vee", "collar"):
        collar = np.array([at(-opening[0], 0.12), at(0.0, opening[1]), at(opening[0], 0.12)])
    skin_area = np.concatenate([neck[:2], collar, neck[-2:]])
    canvas.fill(skin_area, skin)
    canvas.stroke(collar, 0.05 * unit, cloth * 0.75)
    if scene.neckline == "collar":
        for side in (-1.0, 1.0):
            flap = np.array(
                [at(side * 0.5, 0.05), at(side * 0.02, 0.72), at(side * 0.42, 0.86), at(side * 0.78, 0.3)]
            )
            canvas.fill(flap, np.minimum(cloth * 1.18 + 8, 255))
            view.outline(flap, factor=0.8)
    # The chin's shadow belongs to the resting jaw: it must not depend on the speech.
    shadow = jaw_outline(scene.face, 0.0)[3:14] + np.array([0.0, 0.16, -0.1])
    shade = canvas.mask(view.solid(shadow), feather=0.07 * unit if smooth else 0.0)
    shared = intersect(shade, canvas.mask(skin_area))
    if shared is not None:
        canvas.blend(*shared, skin * 0.66, 0.45 if scene.style.shading == "none" else 0.8)


def draw_ears(view: View) -> None:
    scene, unit, size = view.scene, view.unit, view.scene.ear_size
    centres = [np.array([side * (scene.face.cheek_width + 0.03), 0.10]) for side in (-1.0, 1.0)]
    shapes = [
        view.at_depth(ellipse(c, 0.14 * size, 0.27 * size, np.sign(c[0]) * 0.15), -0.05) for c in centres
    ]
    view.fill_lit(shapes, scene.palette.skin, 0.94)
    view.outline(shapes)
    inner = [
        view.at_depth(ellipse(c * 1.02, 0.07 * size, 0.17 * size, np.sign(c[0]) * 0.15), -0.05)
        for c in centres
    ]
    dark = np.asarray(scene.palette.skin, np.float32) * 0.68
    view.canvas.stroke(inner, 0.03 * unit, dark, opacity=0.6, closed=True)


def draw_face(view: View, mouth: MouthGeometry, skin: np.ndarray) -> None:
    """The skin of face and skull down to the moving jaw."""
    jaw = view.solid(jaw_outline(view.scene.face, mouth.drop))
    skull = view.at_depth(skull_arc(0.0), 0.0)
    contour = np.concatenate([spline(jaw, 3), skull])
    view.canvas.fill(contour, skin, feather=0.0)
    view.outline(contour)
    if view.scene.freckles:
        at = np.random.default_rng([view.scene.seed, 0xF4EC]).uniform(-1, 1, (view.scene.freckles, 2))
        spots = view.on_face(at * np.array([0.75, 0.22]) + np.array([0.0, 0.32]))
        radius = 0.018 * view.unit
        colour = np.asarray(view.scene.palette.skin, np.float32) * 0.66
        view.canvas.fill([ellipse(spot, radius, radius, count=8) for spot in spots], colour, opacity=0.7)


def draw_nose(view: View) -> None:
    scene, unit, canvas = view.scene, view.unit, view.canvas
    face = scene.face
    base = view.on_face(np.array([[0.0, face.nose_y]]))[0]
    if base[1] < canvas.y0 - 0.4 * unit:
        return
    shade = np.asarray(scene.palette.skin, np.float32) * 0.52
    if scene.style.shading == "smooth":
        holes = view.on_face(np.array([[s * face.nose_width * 0.46, face.nose_y] for s in (-1.0, 1.0)]), 0.15)
        nostrils = [ellipse(hole, 0.062 * unit, 0.032 * unit, count=16) for hole in holes]
        canvas.fill(nostrils, shade * 0.55, opacity=0.8, feather=0.010 * unit)
        wing = np.array([(0.80, -0.13), (1.02, -0.07), (0.98, 0.01), (0.72, 0.03)])
        wing = wing * np.array([face.nose_width, 1.0]) + np.array([0.0, face.nose_y])
        wings = [spline(view.on_face(side, 0.06), 5) for side in (wing, mirror(wing))]
        canvas.stroke(wings, 0.022 * unit, shade, opacity=0.55, feather=0.010 * unit)
        return
    side = 1.0 if scene.light.direction[0] < 0 else -1.0
    line = np.array([(0.25, -0.30), (0.75, -0.10), (0.55, 0.0), (0.0, 0.03), (-0.45, 0.0)])
    line = np.stack([side * line[:, 0] * face.nose_width, face.nose_y + line[:, 1]], axis=1)
    colour = np.asarray(scene.palette.outline if scene.style.outline else shade, np.float32)
    canvas.stroke(spline(view.on_face(line, 0.15), 5), 0.032 * unit, colour, opacity=0.9)


def draw_beard(view: View, mouth: MouthGeometry) -> None:
    """Stubble, full beard or goatee, moving with the jaw; the lips are drawn over it."""
    scene, unit = view.scene, view.unit
    face = scene.face
    if scene.beard == "none":
        return
    jaw = jaw_outline(face, mouth.drop)
    lip_top = face.mouth_y - face.upper_lip  # of the closed mouth: the beard's upper edge does not speak
    smooth = scene.style.shading == "smooth"
    if scene.beard == "goatee":
        width = face.mouth_width + 0.10
        chin = face.chin_y + mouth.drop + 0.04
        rim = np.array(
            [
                (width, lip_top),
                (width + 0.02, 0.5 * (lip_top + chin)),
                (width * 0.75, chin - 0.08),
                (0.0, chin),
            ]
        )
        inner = np.concatenate([rim, mirror(rim)[2::-1]])
        contour = view.on_face(spline(inner, 5))
    else:
        side = np.array(
            [(0.98 * face.cheek_width, 0.25), (0.76, 0.62), (face.mouth_width + 0.16, lip_top - 0.04)]
        )
        top = np.concatenate([mirror(side), [[0.0, face.nose_y + 0.09]], side[::-1]])
        extend = 0.05 if scene.beard == "full" else 0.0
        low = jaw[2:15].copy()
        low[:, 1] += extend * np.clip((low[:, 1] - 0.5) / 0.8, 0, 1)
        contour = np.concatenate([spline(view.solid(low), 3), spline(view.on_face(top)[::-1], 5)])
    opacity = 0.30 if scene.beard == "stubble" else (0.92 if smooth else 1.0)
    feather = (0.06 if scene.beard == "stubble" else 0.035) * unit if smooth else 0.0
    view.fill_lit(contour, scene.palette.hair, 0.85, opacity=opacity, feather=feather)


def draw_moustache(view: View, mouth: MouthGeometry) -> None:
    """Hair between nose and upper lip; it moves with the lip."""
    scene, unit = view.scene, view.unit
    if not scene.moustache:
        return
    top = mouth.outer[:7, :2].copy()
    upper = top.copy()
    upper[:, 1] -= np.array([0.03, 0.09, 0.12, 0.10, 0.12, 0.09, 0.03])
    upper[:, 1] = np.maximum(upper[:, 1], scene.face.nose_y + 0.06)
    upper[[0, -1], 0] *= 1.08
    lower = top + np.array([0.0, 0.02])
    shape = view.on_face(np.concatenate([spline(upper, 4), spline(lower[::-1], 4)]), 0.05)
    feather = 0.016 * unit if scene.style.shading == "smooth" else 0.0
    view.fill_lit(shape, scene.palette.hair, 0.8, opacity=0.92, feather=feather)
