"""What an item shows: a sampled character, changed into what its group asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from common.rendered.geometry import FaceShape
from common.rendered.lighting import Lighting
from common.rendered.motion import Wobble, sample_wobble
from common.rendered.scene import CREATURES, Colour, Guest, HeadMotion, Scene, sample_scene
from common.rendered.speech import speak
from evaluation.bench.items import BenchItem

_LIVE = ("realistic", "soft")
_DRAWN = ("toon", "flat", "soft")
_IN_FRONT = ("hand", "microphone", "cup")
_GUEST_SEEDS = 500  # added to the item's seed

# skin, lips, ears and hair, accent
_FURS: dict[str, tuple[Colour, Colour, Colour, Colour]] = {
    "cat": ((226, 150, 80), (190, 110, 60), (206, 120, 50), (240, 170, 170)),
    "bear": ((140, 96, 64), (110, 66, 56), (120, 80, 52), (190, 150, 110)),
    "rabbit": ((206, 200, 196), (190, 120, 124), (196, 188, 184), (236, 170, 176)),
    "robot": ((160, 172, 184), (90, 100, 116), (110, 122, 140), (230, 90, 50)),
    "alien": ((120, 190, 110), (70, 130, 80), (100, 170, 95), (230, 220, 90)),
}


def build_scene(item: BenchItem) -> Scene:
    """The scene of both clips of an item: a function of the item alone."""
    return _BUILDERS[item.group](item, np.random.default_rng([item.seed, 0xBE7C4]))


def _sampled(item: BenchItem, style: str = "realistic", occluder: str = "none") -> Scene:
    return sample_scene(item.seed, style=style, occluder=occluder, size=item.pixels)


def _changed(scene: Scene, **changes: object) -> Scene:
    """A copy with its own store of pictures: what was kept for the old scene may not fit the new one."""
    return replace(scene, _cache={}, **changes)  # type: ignore[arg-type]


def _plain(item: BenchItem, rng: np.random.Generator) -> Scene:
    return _sampled(item, _LIVE[item.number % 2])


def _front(item: BenchItem, rng: np.random.Generator) -> Scene:
    scene = _plain(item, rng)
    motion = replace(scene.motion, yaw=sample_wobble(rng, 0.0, 0.08), pitch=sample_wobble(rng, 0.0, 0.05))
    return _changed(scene, motion=motion)


def _profile(item: BenchItem, rng: np.random.Generator) -> Scene:
    scene = _sampled(item, ("realistic", "soft", "toon")[item.number % 3])
    side = float(rng.choice([-1.0, 1.0]))
    motion = replace(
        scene.motion,
        yaw=sample_wobble(rng, side * np.radians(50.0), np.radians(8.0)),
        pitch=sample_wobble(rng, 0.0, 0.06),
    )
    centre = (scene.size * (0.5 - 0.06 * side), scene.centre[1])
    bare = {"glasses": "none", "beard": "none", "moustache": False, "hair_style": "short"}
    return _changed(scene, motion=motion, centre=centre, solid=True, **bare)


def _occluded(item: BenchItem, rng: np.random.Generator) -> Scene:
    scene = _sampled(item, _LIVE[item.number % 2], _IN_FRONT[item.number % 3])
    assert scene.occluder is not None
    # Most of a visit falls into even the shortest clip.
    return _changed(scene, occluder=replace(scene.occluder, period=2.0, phase=0.05, share=0.5))


def _stylised(item: BenchItem, rng: np.random.Generator) -> Scene:
    return _sampled(item, _DRAWN[item.number % 3])


def _creature_face(kind: str, face: FaceShape) -> FaceShape:
    face = replace(face, eye_width=0.25, eye_height=0.17, eye_x=0.47, brow_y=-0.40)
    if kind == "robot":
        return replace(face, jaw_width=1.0, chin_width=0.75, cheek_width=1.02)
    if kind == "alien":
        return replace(face, jaw_width=0.62, chin_width=0.2, eye_width=0.30, eye_height=0.20)
    return face


def _non_human(item: BenchItem, rng: np.random.Generator) -> Scene:
    scene = _sampled(item, ("realistic", "toon", "soft", "flat")[item.number % 4])
    kind = CREATURES[item.number % len(CREATURES)]
    skin, lips, hair, accent = _FURS[kind]
    r, g, b = (0.7 * c for c in skin)
    return _changed(
        scene,
        creature=kind,
        face=_creature_face(kind, scene.face),
        palette=replace(scene.palette, skin=skin, lips=lips, hair=hair, accent=accent, brow=(r, g, b)),
        unit=0.175 * scene.size,  # room for ears
        centre=(0.5 * scene.size, 0.61 * scene.size),
        **{"hair_style": "bald", "beard": "none", "moustache": False, "glasses": "none", "freckles": 0},
    )


def _still(value: float) -> Wobble:
    return Wobble(value, (), (), ())


def _wave(mean: float, amplitude: float, hertz: float, rng: np.random.Generator) -> Wobble:
    return Wobble(mean, (amplitude,), (hertz,), (float(rng.uniform(0, 2 * np.pi)),))


def _light(item: BenchItem, rng: np.random.Generator) -> Scene:
    flicker = Wobble(0.72, (0.16, 0.10), (3.1, 7.3), (0.0, 1.0))
    angle = _wave(float(rng.uniform(0, np.pi)), 0.5, 0.2, rng)
    kinds = (
        # a coloured lamp that wanders across the face
        Lighting(_still(0.85), _wave(1.0, 0.30, 0.6, rng), _wave(1.0, 0.35, 0.45, rng), 0.5, angle,
                 _wave(0.0, 0.35, 0.55, rng)),
        # a dim room
        Lighting(_wave(0.30, 0.05, 0.4, rng), _still(0.85), _still(1.15), 0.35, angle, _still(0.0)),
        # a flickering fire
        Lighting(flicker, _wave(1.12, 0.06, 2.3, rng), _still(0.62), 0.3, angle, _wave(0.0, 0.12, 4.0, rng)),
        # light that comes on and fades
        Lighting(_wave(0.62, 0.36, 0.5, rng), _still(1.0), _still(0.95), 0.2, angle, _still(0.1)),
    )  # fmt: skip
    return _changed(_plain(item, rng), lighting=kinds[item.number % len(kinds)])


def _moved(motion: HeadMotion, camera: HeadMotion) -> HeadMotion:
    """The motion of a head before another head's camera."""
    return replace(motion, camera_x=camera.camera_x, camera_y=camera.camera_y)


def _several(item: BenchItem, rng: np.random.Generator) -> Scene:
    style, height = _LIVE[item.number % 2], item.pixels
    width = 2 * round(0.875 * height)
    first = _sampled(item, style)
    other = sample_scene(item.seed + _GUEST_SEEDS, style=style, occluder="none", size=height)
    left, right = (0.29 * width, 0.60 * height), (0.71 * width, 0.60 * height)
    places = (left, right) if item.number % 2 == 0 else (right, left)
    unit = 0.165 * height
    beside = _changed(
        other,
        unit=unit,
        centre=places[1],
        frame_width=width,
        light=first.light,
        motion=_moved(other.motion, first.motion),
    )
    lips = speak(2 * beside.seed, item.seconds).mouth
    guest = Guest(beside, tuple(lips))
    return _changed(first, unit=unit, centre=places[0], frame_width=width, guest=guest)


def _fast(item: BenchItem, rng: np.random.Generator) -> Scene:
    scene = _plain(item, rng)
    quick = float(rng.uniform(1.0, 1.4))
    motion = replace(
        scene.motion,
        yaw=_wave(0.0, 0.36, quick, rng),
        pitch=_wave(0.0, 0.14, 1.3 * quick, rng),
        roll=_wave(0.0, 0.20, 0.8 * quick, rng),
        x=_wave(0.0, 0.07, 0.9 * quick, rng),
        y=_wave(0.0, 0.035, 1.7 * quick, rng),
        zoom=_wave(1.0, 0.08, 0.7, rng),
    )
    return _changed(scene, motion=motion, unit=0.18 * scene.size, shutter=0.5)


_BUILDERS: dict[str, Callable[[BenchItem, np.random.Generator], Scene]] = {
    "front": _front,
    "profile": _profile,
    "occluded": _occluded,
    "stylised": _stylised,
    "non-human": _non_human,
    "light": _light,
    "several-people": _several,
    "fast-motion": _fast,
    "long": _plain,
    "singing": _plain,
    "silence": _plain,
}
