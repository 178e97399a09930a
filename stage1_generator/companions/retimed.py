"""A companion without a generator: the clip's own lower face as it was at other moments.

Ours; the paper has generated companions only. A generator leaves traces of its own in every companion, and an
editor that is trained on these alone learns to recognise the traces. Here both sides
are real: each frame gets the lower face of another moment of the same clip, turned and laid into place by the
points that the mouth does not move.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from common.face import lip_distance
from stage1_generator.companions.paste import put_back, soft_alpha
from stage1_generator.companions.transplant import in_light_of, laid_in, turn_apart

VERSION = 2

DRAWS = 96
TRIED = 4
"""Of all draws those in which the head is held most as in the clip are made into pictures."""
SLOWEST, FASTEST = 0.5, 1.5
"""Speed at which the other moments are run through; lips stay as quick as lips are."""
SEAM_MAX = 25.0
"""Most mean difference of levels (of 255) on any frame's soft border: above it, the head has turned away."""


@dataclass(frozen=True)
class Retimed:
    """A companion.

    Attributes:
        frames: (n, S, S, 3).
        lip_distance: of its lips to the clip's, pixels of a face of 112.
        seam: mean difference of levels on the worst frame's border.
    """

    frames: NDArray[np.uint8]
    lip_distance: float
    seam: float


def draw_moments(total: int, start: int, length: int, random: np.random.Generator) -> NDArray[np.int64]:
    """(length,) whole frames of :func:`draw_places`."""
    return np.rint(draw_places(total, start, length, random)).astype(np.int64)


def draw_places(total: int, start: int, length: int, random: np.random.Generator) -> NDArray[np.float64]:
    """(length,) places, in frames of an entry of ``total``, whose lips frames [start, start + length) get.

    They go to and fro over a stretch that shares no frame with the clip where the entry is long enough, else
    over a random half of the clip: the other half's mouths are nowhere to be copied from.
    """
    sides = [(0, start), (start + length, total)]
    free = [side for side in sides if side[1] - side[0] >= max(length // 2, 2)]
    if free:
        low, high = free[int(random.integers(len(free)))]
        width = min(length, high - low)
    else:
        low, high, width = start, start + length, length // 2
    first = low + int(random.integers(high - low - width + 1))
    speed = random.uniform(SLOWEST, FASTEST) * random.choice((-1, 1))
    place = random.uniform(0, 2 * (width - 1)) + speed * np.arange(length)
    # A triangle wave: at both ends of the stretch time turns round.
    folded = (width - 1) - np.abs(place % (2 * (width - 1)) - (width - 1))
    return np.asarray(first + folded)


def retimed(
    crops: NDArray[np.uint8],
    landmarks: NDArray[np.float32],
    span: slice,
    mask: NDArray[np.bool_],
    feather: float,
    lip_distance_min: float,
    random: np.random.Generator,
) -> Retimed | None:
    """The frames ``span`` of an entry with the lower faces of other moments.

    Of the draws whose heads are held most alike, the one whose lips differ most; None where none differs by
    ``lip_distance_min`` (pixels of a face of 112) without a seam.

    Args:
        crops: (N, S, S, 3), the whole entry.
        landmarks: (N, 68, 3), crop pixels.
        mask: (n, S, S) bool, what is exchanged; its border is softened over ``feather`` pixels inside.
    """
    original, points = crops[span], landmarks[span]
    alpha = soft_alpha(mask, feather)
    border = (alpha > 0) & (alpha < 0.5)
    draws = [draw_moments(len(crops), span.start, len(original), random) for _ in range(DRAWS)]
    distances = [(moments, lip_distance(points, landmarks[moments])) for moments in draws]
    fitting = [one for one in distances if one[1] >= lip_distance_min]
    fitting.sort(key=lambda one: float(np.square(turn_apart(landmarks[one[0]], points)).mean()))
    best: Retimed | None = None
    for moments, distance in fitting[:TRIED]:
        if best is not None and distance <= best.lip_distance:
            continue
        moved = in_light_of(original, laid_in(crops[moments], landmarks[moments], points), border)
        seam = _seam(original, moved, border)
        if seam <= SEAM_MAX:
            best = Retimed(moved, distance, seam)
    if best is None:
        return None
    return replace(best, frames=put_back(original, best.frames, mask, feather))


def _seam(original: NDArray[np.uint8], moved: NDArray[np.uint8], border: NDArray[np.bool_]) -> float:
    """The worst frame's mean difference (levels) on the border."""
    return max(
        float(cv2.absdiff(ours, theirs)[where].mean()) if where.any() else np.inf
        for ours, theirs, where in zip(original, moved, border, strict=True)
    )
