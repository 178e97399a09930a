"""A companion drawn with the clip's own mouths: every frame gets the lips of another moment, bent to a shape.

The engine is the one that dubs with own mouths (:mod:`common.own_mouths`). With the frame's own shape its
pictures differ from the truth only by what the engine does wrong; with shapes of another stretch they say
something else. Both teach from any clip, with the truth known exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from common.face import lip_distance
from common.own_mouths.bank import BankBuilder
from common.own_mouths.clip import LEAST_MOMENTS, ClipMouths
from common.own_mouths.config import OwnMouthsConfig
from common.own_mouths.heads import Heads
from common.own_mouths.place import FramePlacer
from common.own_mouths.plan import FADE, MouthPlanner
from common.own_mouths.reliability import SURE, Levels
from stage1_generator.companions.paste import composite, soft_alpha
from stage1_generator.companions.retimed import draw_places

if TYPE_CHECKING:
    from common.own_mouths.painting.painter import InsidePainter

VERSION = 4

APART = 8
"""No frame gets a mouth that is nearer in time than so many frames: that one would nearly be its own."""
DRAWS = 4
"""Of so many other stretches the one whose lips differ most gives the shapes."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Mouths:
    """The mouths of an entry.

    Attributes:
        heads: of all N frames.
        shapes: (N, 7) their lip shapes.
        clip: the moments, with these shapes, and how sharp frames are.
    """

    heads: Heads
    shapes: Array
    clip: ClipMouths


@dataclass(frozen=True)
class Rebuilt:
    """A companion.

    Attributes:
        frames: (n, S, S, 3).
        moments: of each frame the frames of the entry whose mouths it shows.
        covered: share of the frames whose moment can show what is wanted.
        reliability: (n, S, S) of the pixels (:mod:`common.own_mouths.reliability`).
        lip_shapes: (n, 7) that the frames were drawn with.
    """

    frames: NDArray[np.uint8]
    moments: list[list[int]]
    covered: float
    reliability: Levels
    lip_shapes: Array


def collect_mouths(crops: NDArray[np.uint8], landmarks: NDArray[np.float32]) -> Mouths | None:
    """The mouths of an entry, (N, S, S, 3) and (N, 68, 3) crop pixels; None where it shows too few."""
    builder = BankBuilder(OwnMouthsConfig())
    for index, (image, points) in enumerate(zip(crops, landmarks, strict=True)):
        builder.add(index, image, points)
    bank = builder.finish()
    if bank is None or len(bank) < LEAST_MOMENTS:
        return None
    heads = Heads.of(landmarks)
    # Shapes are relative to a mean over frames, which must be the same for the moments and the frames.
    shapes = heads.lip_shapes()
    bank = replace(bank, shapes=shapes[bank.frames])
    return Mouths(heads, shapes, ClipMouths(bank, builder.sharpness))


def enough_moments(total: int, start: int, length: int) -> bool:
    """Whether each frame of a clip has moments far enough away in an entry of ``total`` frames."""
    return bool((~too_near(np.arange(start, start + length), np.arange(total))).sum(1).min() >= LEAST_MOMENTS)


def too_near(frames: NDArray[np.int64], moments: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(n, M): which moments a frame must not take.

    About a jump a run is shown for up to FADE frames beyond what was planned: these are kept away, too.
    """
    return np.abs(frames[:, None] - moments[None]) <= APART + FADE


def shapes_elsewhere(
    shapes: Array, landmarks: NDArray[np.float32], span: slice, random: np.random.Generator
) -> Array:
    """(n, 7) lip shapes for the frames ``span``: those of another stretch, run through at some speed."""
    count = span.stop - span.start
    draws = [draw_places(len(shapes), span.start, count, random) for _ in range(DRAWS)]
    apart = [lip_distance(landmarks[span], landmarks[np.rint(places).astype(int)]) for places in draws]
    places = draws[int(np.argmax(apart))]
    known = np.arange(len(shapes))
    return np.stack([np.interp(places, known, column) for column in shapes.T], axis=1)


def rebuilt(
    crops: NDArray[np.uint8],
    mouths: Mouths,
    span: slice,
    wanted: Array,
    mask: NDArray[np.bool_],
    feather: float,
    painter: InsidePainter | None = None,
) -> Rebuilt | None:
    """The frames ``span`` of an entry drawn with mouths of other moments; None where a frame has none.

    Args:
        crops: (N, S, S, 3), the whole entry.
        mouths: of the entry.
        wanted: (n, 7) lip shapes that the frames get.
        mask: (n, S, S) bool, what may change; its border is softened over ``feather`` pixels inside.
        painter: of insides that no film can fill; None: they are drawn.
    """
    bank, heads = mouths.clip.bank, mouths.heads[span]
    frames = np.arange(span.start, span.stop)
    forbidden = too_near(frames, bank.frames)
    if forbidden.all(axis=1).any():
        return None
    plan = MouthPlanner(bank).plan(wanted, heads.angles, mouths.clip.sharpness.of(frames), forbidden)
    placer = FramePlacer(heads, bank, plan, OwnMouthsConfig(calibrate=False), painter=painter)
    drawn = [placer(i, image, reliability=True) for i, image in enumerate(crops[span])]
    alpha = soft_alpha(mask, feather)
    levels = [SURE if one.reliability is None else one.reliability.over(one.image.shape) for one in drawn]
    unsure = np.stack([alpha[i] * (SURE - level) for i, level in enumerate(levels)])
    return Rebuilt(
        frames=composite(crops[span], np.stack([one.image for one in drawn]), alpha),
        moments=[[int(bank.frames[m]) for m, _ in plan.shown(i, bank)] for i in range(len(frames))],
        covered=float(plan.covered.mean()),
        reliability=np.asarray(SURE - np.rint(unsure), np.uint8),
        lip_shapes=np.stack([placer.lip_shape(i) for i in range(len(frames))]),
    )
