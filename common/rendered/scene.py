"""A character in a place, sampled from a seed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from common.errors import UserError
from common.rendered.geometry import FaceShape, Pose, make_pose
from common.rendered.lighting import Lighting
from common.rendered.motion import Wobble, sample_wobble, smoothstep
from common.rendered.visemes import FRAME_RATE, MouthShape

TRAIN_SEEDS = range(0, 1_000_000)
"""Seeds for training. A seed fixes person, place, motion and voice, so other seeds are other people."""
HELD_OUT_SEEDS = range(1_000_000, 2_000_000)
"""Seeds never to be trained on."""

STYLES = ("realistic", "soft", "toon", "flat")
OCCLUDERS = ("none", "hand", "microphone", "cup")
HAIR_STYLES = ("bald", "buzz", "short", "side", "curly", "afro", "bob", "long", "bun", "cap", "scarf")
BEARDS = ("none", "stubble", "full", "goatee")
CREATURES = ("cat", "bear", "rabbit", "robot", "alien")
BACKGROUNDS = ("gradient", "shapes", "room", "window", "bokeh")

Colour = tuple[float, float, float]

_SKINS: tuple[Colour, ...] = (
    *((246, 216, 196), (238, 200, 172), (226, 182, 150), (214, 166, 130)),
    *((190, 138, 102), (160, 112, 80), (128, 86, 62), (98, 66, 50)),
)
_HAIRS: tuple[Colour, ...] = (
    *((28, 24, 24), (48, 34, 28), (78, 52, 36), (112, 76, 46), (160, 116, 66), (206, 172, 112)),
    *((150, 70, 36), (170, 168, 166), (222, 218, 212)),
)
_ODD_HAIRS: tuple[Colour, ...] = (
    (60, 90, 170),
    (170, 60, 120),
    (70, 140, 110),
    (190, 60, 50),
    (120, 80, 160),
)
_IRISES: tuple[Colour, ...] = ((70, 46, 30), (96, 64, 36), (84, 108, 70), (80, 116, 150), (110, 128, 136))


@dataclass(frozen=True)
class StyleSpec:
    """How things are drawn. `shading`: smooth, two_tone or none; `outline`: line width in head units."""

    name: str
    shading: str
    outline: float
    detail: float
    grain: float


_STYLE_SPECS = {
    "realistic": StyleSpec("realistic", "smooth", 0.0, 1.0, 1.6),
    "soft": StyleSpec("soft", "smooth", 0.012, 0.6, 0.6),
    "toon": StyleSpec("toon", "two_tone", 0.030, 0.0, 0.0),
    "flat": StyleSpec("flat", "none", 0.0, 0.0, 0.0),
}


@dataclass(frozen=True)
class Palette:
    skin: Colour
    lips: Colour
    hair: Colour
    brow: Colour
    iris: Colour
    clothes: Colour
    accent: Colour
    outline: Colour


@dataclass(frozen=True)
class Light:
    """`direction` towards the light (unit length), `contrast` of the shading, `tint` per channel."""

    direction: Colour
    contrast: float
    tint: Colour


@dataclass(frozen=True)
class OccluderMotion:
    """Something that comes up in front of the mouth and goes away again, every `period` seconds.

    `further` is never sampled: head units by which arms are longer, and by which the thing is farther down
    while it is away, than a square picture of the scene needs. Above 0 the hand with the microphone has an
    arm, too.
    """

    kind: str
    period: float
    phase: float
    share: float
    side: float
    reach: float
    tilt: float
    colour: Colour
    wobble_x: Wobble
    wobble_y: Wobble
    further: float = 0.0

    def presence(self, time: float) -> float:
        """0 = out of the way, 1 = in front of the mouth."""
        cycle = (time / self.period + self.phase) % 1.0
        distance = abs(cycle - 0.5) * 2 * self.period  # seconds from the middle of the visit, times two
        return smoothstep((self.share * self.period - distance) / 0.5 + 0.5)


@dataclass(frozen=True)
class HeadMotion:
    yaw: Wobble
    pitch: Wobble
    roll: Wobble
    x: Wobble
    y: Wobble
    zoom: Wobble
    brow: Wobble
    camera_x: Wobble
    camera_y: Wobble


@dataclass(frozen=True)
class Guest:
    """A second person in the picture, behind the first; `mouths` are the lips frame by frame, repeated."""

    scene: Scene
    mouths: tuple[MouthShape, ...]

    def mouth(self, frame_index: float) -> MouthShape:
        return self.mouths[round(frame_index) % len(self.mouths)]


@dataclass(frozen=True)
class Scene:
    """Everything about a clip but the speech. Immutable: the same scene and frame give the same pixels.

    `size`: height of the picture, and its width unless `frame_width` gives another one. What follows
    `occluder` is never sampled, only set with dataclasses.replace: `creature`, one of CREATURES, is a head
    that is not human; `solid` draws a head with sides and a back, which large turns need; `lighting` changes
    the light in time and space; `guest` is a second person; `shutter` is the share of a frame's time for
    which the camera looks (0 = an instant, without motion blur).
    """

    seed: int
    size: int
    style: StyleSpec
    face: FaceShape
    palette: Palette
    light: Light
    motion: HeadMotion
    unit: float
    centre: tuple[float, float]
    hair_style: str
    hair_length: float
    beard: str
    moustache: bool
    glasses: str
    freckles: int
    ear_size: float
    neckline: str
    background: str
    occluder: OccluderMotion | None
    creature: str | None = None
    solid: bool = False
    lighting: Lighting | None = None
    guest: Guest | None = None
    shutter: float = 0.0
    frame_width: int | None = None
    _cache: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def speaker(self) -> str:
        """Name of the person; seeds and people correspond one to one."""
        return f"rendered-{self.seed:07d}"

    @property
    def width(self) -> int:
        """Of the picture in px; `size` is its height."""
        return self.frame_width or self.size

    def time(self, frame_index: float) -> float:
        """Seconds of a frame, or of a moment between two frames."""
        return frame_index / FRAME_RATE

    def pose(self, frame_index: float) -> Pose:
        """Head pose of a frame in picture px; it does not depend on the speech."""
        t, m = self.time(frame_index), self.motion
        x = self.centre[0] + (m.x(t) + m.camera_x(t)) * self.size
        y = self.centre[1] + (m.y(t) + m.camera_y(t)) * self.size
        return make_pose(m.yaw(t), m.pitch(t), m.roll(t), (x, y), self.unit * m.zoom(t))


def _jitter(rng: np.random.Generator, colour: Colour, amount: float) -> Colour:
    """A colour near `colour`: brightness and each channel moved by up to `amount` and half of it."""
    value = (
        np.asarray(colour)
        * (1 + rng.uniform(-amount, amount))
        * (1 + rng.uniform(-amount / 2, amount / 2, 3))
    )
    r, g, b = np.clip(value, 4, 250)
    return float(r), float(g), float(b)


def _sample_face(rng: np.random.Generator, drawn: bool) -> FaceShape:
    """Proportions near a real face's; drawn styles get larger eyes and mouths."""
    u = rng.uniform
    big = u(1.15, 1.5) if drawn else u(0.95, 1.1)
    lips = u(1.0, 1.3) if drawn else u(0.95, 1.2)
    chin_y = u(1.42, 1.58)
    nose_y = u(0.54, 0.64)
    mouth_y = nose_y + (chin_y - nose_y) * u(0.36, 0.42)
    return FaceShape(
        cheek_width=u(0.94, 1.06),
        jaw_width=u(0.68, 0.88),
        chin_width=u(0.24, 0.42),
        chin_y=chin_y,
        eye_x=u(0.41, 0.48),
        eye_width=u(0.19, 0.23) * (0.5 + 0.5 * big),
        eye_height=u(0.075, 0.11) * big,
        eye_tilt=u(-0.05, 0.16),
        brow_y=u(-0.36, -0.24) * (0.6 + 0.4 * big),
        brow_arch=u(0.02, 0.10),
        nose_y=nose_y,
        nose_width=u(0.18, 0.28),
        mouth_y=mouth_y,
        mouth_width=u(0.36, 0.46) * lips,
        mouth_gap=u(0.40, 0.50) * (0.5 + 0.5 * lips),
        mouth_curve=u(-0.005, 0.05),
        upper_lip=u(0.075, 0.125),
        lower_lip=u(0.10, 0.16),
    )


def _sample_palette(rng: np.random.Generator) -> Palette:
    tone = int(rng.integers(len(_SKINS)))
    skin = _jitter(rng, _SKINS[tone], 0.06)
    dark = tone / (len(_SKINS) - 1)
    lipstick = rng.random() < 0.25
    red = np.array([176, 40, 60]) if lipstick else np.array([186, 92, 92]) * (1 - 0.35 * dark)
    share = 0.75 if lipstick else 0.6
    lips = np.asarray(skin) * (1 - share) * 0.9 + red * share
    old = rng.random() < 0.2
    choices = _HAIRS[-2:] if old else _HAIRS[: 4 if tone > 4 else 7]
    pool = _ODD_HAIRS if rng.random() < 0.08 else choices
    hair = _jitter(rng, pool[int(rng.integers(len(pool)))], 0.12)
    brow = np.asarray(hair) * 0.75
    clothes = _jitter(rng, tuple(map(float, rng.uniform(25, 225, 3))), 0.05)  # type: ignore[arg-type]
    accent = _jitter(rng, tuple(map(float, rng.uniform(40, 230, 3))), 0.05)  # type: ignore[arg-type]
    r, g, b = lips
    br, bg, bb = brow
    iris = _jitter(rng, _IRISES[int(rng.integers(len(_IRISES)))], 0.1)
    return Palette(skin, (r, g, b), hair, (br, bg, bb), iris, clothes, accent, (42.0, 30.0, 34.0))


def _sample_motion(rng: np.random.Generator) -> HeadMotion:
    lively = rng.uniform(0.4, 1.0)
    camera = 0.006 if rng.random() < 0.5 else 0.0
    return HeadMotion(
        yaw=sample_wobble(rng, rng.uniform(-0.16, 0.16), 0.22 * lively),
        pitch=sample_wobble(rng, rng.uniform(-0.06, 0.06), 0.10 * lively),
        roll=sample_wobble(rng, rng.uniform(-0.05, 0.05), 0.09 * lively),
        x=sample_wobble(rng, 0.0, 0.030 * lively),
        y=sample_wobble(rng, 0.0, 0.018 * lively),
        zoom=sample_wobble(rng, 1.0, 0.035 * lively, 0.3),
        brow=sample_wobble(rng, 0.0, 0.07, 0.9),
        camera_x=sample_wobble(rng, 0.0, camera, 1.2),
        camera_y=sample_wobble(rng, 0.0, camera, 1.2),
    )


def _sample_occluder(rng: np.random.Generator, kind: str, skin: Colour) -> OccluderMotion:
    colour = skin if kind == "hand" else _jitter(rng, tuple(map(float, rng.uniform(30, 235, 3))), 0.05)  # type: ignore[arg-type]
    return OccluderMotion(
        kind=kind,
        period=float(rng.uniform(1.8, 2.8)),
        phase=float(rng.uniform(0, 1)),
        share=float(rng.uniform(0.4, 0.6)),
        side=float(rng.choice([-1.0, 1.0])),
        reach=float(rng.uniform(-0.05, 0.12)),
        tilt=float(rng.uniform(-0.35, 0.35)),
        colour=colour,
        wobble_x=sample_wobble(rng, 0.0, 0.10, 1.5),
        wobble_y=sample_wobble(rng, 0.0, 0.08, 1.5),
    )


def sample_scene(
    seed: int, *, style: str | None = None, occluder: str | None = None, size: int = 256
) -> Scene:
    """The scene of `seed`, in pixels `size` x `size`.

    style: one of STYLES, None = by the seed (half of them realistic). occluder: one of OCCLUDERS, None =
    by the seed (two in five clips have one). The other draws do not depend on either argument.
    Raises: UserError for an unknown style or occluder, a negative seed or a size under 64.
    """
    if style is not None and style not in STYLES:
        raise UserError(f"unknown style {style!r}: choose one of {', '.join(STYLES)}")
    if occluder is not None and occluder not in OCCLUDERS:
        raise UserError(f"unknown occluder {occluder!r}: choose one of {', '.join(OCCLUDERS)}")
    if seed < 0 or size < 64:
        raise UserError(f"a scene needs a seed of 0 or more and a size of 64 or more, not {seed} and {size}")
    streams = [np.random.default_rng([seed, 0x5CE4E, i]) for i in range(7)]
    rng = streams[0]
    drawn_style = str(rng.choice(["realistic", "realistic", "soft", "toon", "flat"]))
    chosen = _STYLE_SPECS[style or drawn_style]
    palette = _sample_palette(streams[2])
    drawn_occluder = str(
        streams[4].choice(["none", "none", "none", "hand", "microphone", "cup"], p=_OCCLUDER_ODDS)
    )
    kind = occluder or drawn_occluder
    rng = streams[5]
    angle, height = rng.uniform(-1.1, 1.1), rng.uniform(-0.7, 0.0)
    towards = np.array([np.sin(angle), height, np.cos(angle) + 0.25])
    lx, ly, lz = towards / np.linalg.norm(towards)
    warm = rng.uniform(-0.07, 0.07)
    exposure = rng.uniform(0.86, 1.0)
    masculine = streams[6].random() < 0.5
    rng = streams[6]
    beard = str(rng.choice(BEARDS, p=[0.4, 0.25, 0.2, 0.15])) if masculine else "none"
    unit = size * float(rng.uniform(0.195, 0.235))
    return Scene(
        seed=seed,
        size=size,
        style=chosen,
        face=_sample_face(streams[1], chosen.name in ("toon", "flat")),
        palette=palette,
        light=Light(
            (float(lx), float(ly), float(lz)),
            float(rng.uniform(0.25, 0.5)),
            (exposure * (1 + warm), exposure, exposure * (1 - warm)),
        ),
        motion=_sample_motion(streams[3]),
        unit=unit,
        centre=(size * float(rng.uniform(0.46, 0.54)), size * float(rng.uniform(0.52, 0.56))),
        hair_style=str(rng.choice(HAIR_STYLES, p=_MASCULINE_HAIR if masculine else _FEMININE_HAIR)),
        hair_length=float(rng.uniform(0.0, 1.0)),
        beard=beard,
        moustache=bool(beard in ("full", "goatee") or (masculine and rng.random() < 0.15)),
        glasses=str(rng.choice(["none", "round", "square", "thin"], p=[0.7, 0.1, 0.1, 0.1])),
        freckles=int(rng.integers(0, 14)) if rng.random() < 0.35 else 0,
        ear_size=float(rng.uniform(0.85, 1.2)),
        neckline=str(rng.choice(["round", "vee", "collar", "high"])),
        background=str(rng.choice(BACKGROUNDS)),
        occluder=None if kind == "none" else _sample_occluder(streams[4], kind, palette.skin),
    )


_OCCLUDER_ODDS = [0.2, 0.2, 0.2, 0.14, 0.13, 0.13]
_MASCULINE_HAIR = [0.12, 0.16, 0.26, 0.16, 0.10, 0.04, 0.0, 0.04, 0.02, 0.08, 0.02]
_FEMININE_HAIR = [0.01, 0.02, 0.08, 0.10, 0.12, 0.10, 0.18, 0.22, 0.08, 0.02, 0.07]
