"""Which of a clip's small pictures show a free face."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from common.face.occlusion.features import (
    features_of,
    likest,
    lip_measures,
    lips_lost,
    ranges,
    skin_colour,
    skin_in_light,
    skin_shown,
    squares_to,
)
from common.face.occlusion.picture import Flags, LowerFace, LowerFaceView
from common.face.occlusion.things import find_things
from common.face.occlusion.usual import LEAST_AREA, Usual
from common.face.types import FloatArray

# While learning, a picture is free where no more of it than the least thing differs by more than this.
_STRICT = 3.0
# Share of the pictures, those that show lips and skin best, where learning begins.
_CORE = 0.25
# So many pictures that show lips, but another face, are another look of it (a shot, a turn), not a thing.
_ANOTHER_LOOK = 0.15
# A thing leaves nose and upper cheeks as they are, all but this share of them; another look does not.
_SAME_UPPER = 0.25
# With fewer free faces than this, free and covered might be confounded: then nothing is ever found.
_MAJORITY = 0.42


def learn(kept: Sequence[LowerFace]) -> Usual | None:
    """What is usual in a clip, None where too few free faces are seen to tell."""
    views = [face.view for face in kept]
    skins = np.stack([skin_colour(face.picture, face.view.inside) for face in kept])
    skin = np.median(skins, axis=0).astype(np.float32)
    features = [
        features_of(face.picture, skin_in_light(own, skin)) for face, own in zip(kept, skins, strict=True)
    ]
    lips = np.stack([lip_measures(f, view) for f, view in zip(features, views, strict=True)])
    skin_seen = np.array([skin_shown(f, view) for f, view in zip(features, views, strict=True)])
    # Seen well: all three are among the best. A red cup is redder than lips, but it hides skin.
    ranks = np.column_stack([lips, skin_seen]).argsort(axis=0).argsort(axis=0).min(axis=1)
    core = np.argsort(-ranks, kind="stable")[: max(round(_CORE * len(kept)), 1)]
    usual_lips = np.median(lips[core], axis=0).astype(np.float32)
    shown = ~lips_lost(lips, usual_lips)
    low, high = ranges(features)
    whole = Usual(skin, usual_lips, np.stack([view.turn for view in views]), low, high)
    free = np.zeros(len(kept), bool)
    free[core] = True
    free = _grown_free([squares_to(f, low, high) for f in features], views, free & shown, shown)
    looks = shown & ~free
    if looks.mean() >= _ANOTHER_LOOK and free.any():
        known = whole.limited(free)
        for j in np.flatnonzero(looks):
            looks[j] = not find_things(known, features[j], views[j], _SAME_UPPER).any()
        if looks.mean() >= _ANOTHER_LOOK:
            free |= looks
    return whole.limited(free) if free.mean() >= _MAJORITY else None


def _grown_free(
    squares: Sequence[FloatArray], views: Sequence[LowerFaceView], free: Flags, shown: Flags
) -> Flags:
    """(N,) which pictures are free: those that are so already, and what shows lips and is like them.

    Args:
        squares: N times (HEIGHT, WIDTH, N), :func:`squares_to` among the pictures.
        views: N.
        free: (N,) those that are known.
        shown: (N,) those that show lips.
    """
    for _ in range(len(views)):
        known, left = np.flatnonzero(free), np.flatnonzero(shown & ~free)
        new = [j for j in left if known.size and _is_like(likest(squares[j][..., known]), views[j])]
        if not new:
            break
        free = free.copy()
        free[new] = True
    return free


def _is_like(distance: FloatArray, view: LowerFaceView) -> bool:
    differs = ((distance > _STRICT) & view.inside).astype(np.uint8)
    large = cv2.morphologyEx(differs, cv2.MORPH_OPEN, np.ones((3, 3)))
    return bool(np.sum(large) < LEAST_AREA * view.inside.sum())
