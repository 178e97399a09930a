"""Hair behind and in front of the head, caps and scarves."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from common.rendered.draw.canvas import Shapes, ellipse
from common.rendered.draw.head import skull_arc
from common.rendered.draw.view import View
from common.rendered.geometry import mirror, spline

_BARE = ("bald", "cap", "scarf")
_VOLUME = {
    "buzz": 0.03,
    "short": 0.13,
    "side": 0.16,
    "curly": 0.22,
    "afro": 0.45,
    "bob": 0.16,
    "long": 0.14,
    "bun": 0.08,
}


def _fill(
    view: View, shapes: Shapes, factor: float = 1.0, *, opacity: float = 1.0, feather: float = 0.0
) -> None:
    view.fill_lit(shapes, view.scene.palette.hair, factor, opacity=opacity, feather=feather)


def draw_back_hair(view: View) -> None:
    """What hangs behind neck and ears; drawn before body and head."""
    scene, style = view.scene, view.scene.hair_style
    length = scene.hair_length
    if style in ("long", "bob"):
        low = (1.9 + 0.7 * length) if style == "long" else (0.85 + 0.5 * length)
        width = 1.22 + 0.16 * length
        half = np.array(
            [(1.16, -0.6), (width, 0.2), (width + 0.02, low * 0.7), (width - 0.08, low), (0.5, low + 0.08)]
        )
        points = np.concatenate(
            [
                skull_arc(_VOLUME[style])[::-1][12:],
                half,
                mirror(half)[::-1],
                skull_arc(_VOLUME[style])[::-1][:12],
            ]
        )
        contour = spline(view.at_depth(points, -0.25), 3, closed=True)
    elif style == "afro":
        contour = view.at_depth(ellipse(np.array([0.0, -0.45]), 1.45, 1.5, count=40), -0.2)
    elif style == "bun":
        contour = view.at_depth(ellipse(np.array([0.0, -1.78]), 0.42, 0.38), -0.35)
    elif style == "scarf":
        half = np.array([(1.2, -0.6), (1.26, 0.4), (1.2, 1.3), (1.5, 2.3), (0.6, 2.9)])
        points = np.concatenate([half, mirror(half)[::-1], skull_arc(0.16)[::-1]])
        contour = spline(view.at_depth(points, -0.2), 3, closed=True)
        view.fill_lit(contour, scene.palette.accent, 0.72)
        view.outline(contour)
        return
    else:
        return
    _fill(view, contour, 0.72)
    view.outline(contour)


def _hairline(view: View) -> np.ndarray:
    """Where hair meets the forehead, from picture right to left, flat head points."""
    style, wave = view.scene.hair_style, view.scene.hair_length
    w = view.scene.face.cheek_width
    if style == "side":
        flip = 1.0 if view.scene.seed % 2 else -1.0
        line = np.array(
            [
                (w, 0.12),
                (0.90, -0.30),
                (0.66, -0.64),
                (0.15, -0.70),
                (-0.5, -0.50),
                (-0.88, -0.28),
                (-w, 0.12),
            ]
        )
        return line if flip > 0 else mirror(line)[::-1]
    if style == "bob" and wave > 0.4:
        return np.array(
            [
                (w * 1.02, 0.2),
                (0.88, -0.30),
                (0.6, -0.50),
                (0.0, -0.54),
                (-0.6, -0.50),
                (-0.88, -0.30),
                (-w * 1.02, 0.2),
            ]
        )
    low = {"buzz": -0.76, "afro": -0.68, "curly": -0.62}.get(style, -0.66 - 0.14 * wave)
    burn = 0.18 if style in ("short", "buzz", "curly") else 0.02
    return np.array(
        [
            (w, burn),
            (0.90, -0.30),
            (0.72, low + 0.16),
            (0.0, low),
            (-0.72, low + 0.16),
            (-0.90, -0.30),
            (-w, burn),
        ]
    )


def draw_front_hair(view: View) -> None:
    """Hair over the skull with its hairline, strands and locks; or a cap, or a scarf."""
    style = view.scene.hair_style
    if style == "cap":
        _draw_cap(view)
    elif style == "scarf":
        _draw_scarf(view)
    if style in _BARE:
        return
    volume = _VOLUME[style]
    top = view.at_depth(skull_arc(volume, -0.16, np.pi + 0.16), -0.02)
    line = view.on_face(spline(_hairline(view), 6))
    if style in ("curly", "afro"):
        radii = np.random.default_rng([view.scene.seed, 0xC0421]).uniform(0.20, 0.30, 17) * view.unit
        middles = view.at_depth(skull_arc(volume * 0.5, -0.1, np.pi + 0.1, 17), -0.02)
        _fill(view, [ellipse(m, r, r, count=16) for m, r in zip(middles, radii, strict=True)], 0.92)
    contour = np.concatenate([top, line[::-1]])
    smooth = view.scene.style.shading == "smooth"
    thin = 0.55 if style == "buzz" else 1.0
    _fill(view, contour, opacity=thin, feather=0.02 * view.unit if smooth else 0.0)
    view.outline(contour)
    if style in ("long", "bob"):
        low = 1.35 if style == "long" else 0.9
        lock = np.array(
            [
                (0.80, -0.62),
                (1.00, -0.2),
                (1.02, 0.5),
                (1.0, low),
                (1.28, low + 0.1),
                (1.26, 0.2),
                (1.16, -0.6),
            ]
        )
        locks = [spline(view.at_depth(points, 0.05), 4, closed=True) for points in (lock, mirror(lock))]
        _fill(view, locks, 0.9)
        view.outline(locks)
    if style not in ("buzz", "afro"):
        _draw_strands(view)


@lru_cache(maxsize=16)
def _strands(seed: int, count: int, parting_x: float) -> np.ndarray:
    """Random numbers of the strands: where each starts and, as a share of the hairline, ends: (count, 3)."""
    rng = np.random.default_rng([seed, 0x57A4D])
    return np.stack(
        [parting_x + rng.uniform(-0.3, 0.3, count), rng.uniform(-1.36, -1.22, count), rng.random(count)],
        axis=1,
    )


def _draw_strands(view: View) -> None:
    """A few lighter and darker lines from the parting to the hairline."""
    line = spline(_hairline(view), 6)
    parting_x = 0.35 if view.scene.hair_style == "side" else 0.0
    numbers = _strands(view.scene.seed, 6 + round(12 * view.scene.style.detail), parting_x)
    starts = numbers[:, :2]
    ends = line[4 + (numbers[:, 2] * (len(line) - 8)).astype(int)]
    bends = 0.5 * (starts + ends) + np.stack(
        [0.35 * (ends[:, 0] - starts[:, 0]), np.full(len(ends), -0.10)], axis=1
    )
    curves = spline(np.stack([starts, bends, ends]).reshape(3, -1), 5).reshape(-1, len(starts), 2)
    points = view.on_face(curves.reshape(-1, 2)).reshape(curves.shape)
    hair = np.asarray(view.scene.palette.hair, np.float32)
    half = len(starts) // 2
    for chosen, colour in ((slice(0, half), hair * 0.72), (slice(half, None), hair * 1.25 + 8)):
        strands = [points[:, i] for i in range(len(starts))[chosen]]
        view.canvas.stroke(strands, 0.035 * view.unit, np.minimum(colour, 255), opacity=0.45)


def _draw_cap(view: View) -> None:
    colour = view.scene.palette.accent
    line = np.array([(1.04, -0.42), (0.70, -0.62), (0.0, -0.70), (-0.70, -0.62), (-1.04, -0.42)])
    dome = np.concatenate(
        [view.at_depth(skull_arc(0.10, 0.05, np.pi - 0.05), -0.02), view.on_face(spline(line, 5))[::-1]]
    )
    view.fill_lit(dome, colour)
    view.outline(dome)
    brim = np.concatenate(
        [spline(line[1:4] * [1.12, 1.0] + [0.0, -0.02], 6), spline(line[3:0:-1] * [1.02, 0.86], 6)]
    )
    shape = view.on_face(brim, 0.30)
    view.fill_lit(shape, colour, 0.72)
    view.outline(shape)


def _draw_scarf(view: View) -> None:
    """A headscarf: a band around the face from the forehead past the ears."""
    half_in = np.array([(0.0, -0.80), (0.60, -0.68), (0.90, -0.15), (0.93, 0.4)])
    half_out = np.array([(0.0, -1.85), (0.85, -1.45), (1.24, -0.4), (1.22, 0.7)])
    ring = np.concatenate([mirror(half_out)[:0:-1], half_out, half_in[::-1], mirror(half_in)[1:]])
    count = 2 * len(half_out) - 1
    contour = np.concatenate(
        [spline(view.at_depth(ring[:count], 0.0), 5), spline(view.on_face(ring[count:]), 5)]
    )
    view.fill_lit(contour, view.scene.palette.accent)
    view.outline(contour)
