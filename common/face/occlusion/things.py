"""Things before the face in one small picture, given what is usual."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes

from common.face.masks import disc
from common.face.occlusion.features import UPPER_ROWS, likest, lip_measures, lips_lost, squares_to
from common.face.occlusion.picture import HEIGHT, WIDTH, LowerFaceView
from common.face.occlusion.usual import LEAST_AREA, Usual
from common.face.types import FloatArray

# Distances at which something else is suspected and certain, where lips are seen; where a thing is found in
# frames about it, the second pair does.
_SUSPECT, _CERTAIN = 2.6, 4.6
_SUSPECT_NEAR, _CERTAIN_NEAR = 0.9, 1.7
# Where the lips are lost a thing is there: the threshold is this share of how much it differs from the face.
_SHARE, _LEAST_SUSPECT, _MOST_SUSPECT, _CERTAIN_LOST = 0.25, 0.6, 1.6, 1.8
# A turned head shows other parts: radians beyond any free picture's turn that halve the distance.
_TURN, _SAME_TURN = 0.1, 0.05
# Beyond this, radians, nothing can be found: a bowed head shows hair where the face was.
_LOST = 0.35
# Breadth of the rim of the face, pixels. At the very edge of the chin, which moves, nothing is certain.
_RIM = 4
_LEAST_ON_RIM = 4
# Breadth of the ring about the lips, pixels, and the share of it that a thing covers which covers the lips.
_RING, _MOST_OF_RING = 3, 0.45
MOST_OF_UPPER = 0.6
"""Where more of nose and upper cheeks than this differs, the whole face does."""

REACH = 6
"""What is suspected belongs to a thing up to so many pixels away from what is certain."""


def find_things(
    usual: Usual, features: FloatArray, view: LowerFaceView, most_of_upper: float = MOST_OF_UPPER
) -> FloatArray:
    """What :meth:`~common.face.occlusion.detector.UsualLowerFace.disagreement` returns.

    Nothing where more than ``most_of_upper`` of nose and upper cheeks differs: the whole face does.
    """
    nothing = np.zeros((HEIGHT, WIDTH), np.float32)
    beyond = float(np.abs(view.turn - usual.turns).sum(axis=1).min())
    if beyond > _LOST:
        return nothing
    distance = likest(squares_to(features, usual.low, usual.high))
    distance /= 1 + max(beyond - _SAME_TURN, 0) / _TURN
    upper = view.inside[UPPER_ROWS]
    if ((distance[UPPER_ROWS] > _SUSPECT) & upper).sum() > most_of_upper * upper.sum():
        return nothing
    seen = lip_measures(features, view)
    if seen.any() and lips_lost(seen, usual.lips):
        suspect = _suspect_lost(distance, view)
        return _things(_sure(distance, suspect, _CERTAIN_LOST * suspect), replace(view, cheeks=view.inside))
    lips = view.inside & ~view.cheeks
    found = _things(_sure(distance, _SUSPECT, _CERTAIN), view)
    if found.any():
        found[lips & (distance < _CERTAIN)] = 0
        return over_lips(found, view)
    suspected = _things(_sure(distance, _SUSPECT_NEAR, _CERTAIN_NEAR), view)
    suspected[lips] = 0
    return -suspected


def over_lips(found: FloatArray, view: LowerFaceView) -> FloatArray:
    """What is found beside the lips, over them as well where it lies on most sides of them: its hull."""
    lips = view.inside & ~view.cheeks
    ring = cv2.dilate(lips.astype(np.uint8), disc(_RING)).astype(bool) & ~lips
    if (found[ring] > 0.5).sum() < _MOST_OF_RING * max(ring.sum(), 1):
        return found
    hull = cv2.convexHull(np.argwhere(found > 0.5)[:, ::-1].astype(np.int32))
    whole = np.zeros(found.shape, np.uint8)
    cv2.fillConvexPoly(whole, hull, (1,))
    return np.where(lips, np.maximum(found, whole), found).astype(np.float32)


def _suspect_lost(distance: FloatArray, view: LowerFaceView) -> float:
    """The distance at which something is suspected where the lips are lost."""
    differs = distance[view.inside & (distance > 1)]
    typical = float(np.quantile(differs, 0.8)) if len(differs) > LEAST_AREA * view.inside.sum() else 0.0
    return min(max(_SHARE * typical, _LEAST_SUSPECT), _MOST_SUSPECT)


def _sure(distance: FloatArray, suspect: float, certain: float) -> FloatArray:
    return np.clip((distance - suspect) / (certain - suspect), 0, 1).astype(np.float32)


def _things(surprise: FloatArray, view: LowerFaceView) -> FloatArray:
    """(HEIGHT, WIDTH) 0..1: what is large and crosses the border of the face; a mouth never does."""
    core = cv2.morphologyEx(
        ((surprise > 0.5) & view.inside).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3))
    )
    chosen = _crossing(np.asarray(core, np.uint8), view)
    if not chosen.any():
        return np.zeros_like(surprise)
    # A thing goes on where its colour is hardly unusual: the ball of a microphone before an open mouth.
    weak = (surprise > 0).astype(np.uint8)
    near = np.asarray(cv2.dilate(chosen, disc(REACH)), np.uint8)
    _, labels = cv2.connectedComponents(weak & near, connectivity=4)
    grown = np.isin(labels, np.unique(labels[(chosen > 0) & (labels > 0)])) | (chosen > 0)
    whole = binary_fill_holes(cv2.morphologyEx(grown.astype(np.uint8), cv2.MORPH_CLOSE, disc(4)))
    return np.asarray(cv2.GaussianBlur(whole.astype(np.float32), (3, 3), 0), np.float32)


def _crossing(core: NDArray[np.uint8], view: LowerFaceView) -> NDArray[np.uint8]:
    """The parts of ``core`` that are large and lie both on the rim of the face and within, lips apart."""
    within = cv2.erode(view.inside.astype(np.uint8), np.ones((2 * _RIM + 1, 2 * _RIM + 1))).astype(bool)
    rim = view.cheeks & ~within
    least = LEAST_AREA * view.inside.sum()
    count, labels = cv2.connectedComponents(core, connectivity=4)
    chosen = np.zeros_like(core)
    for label in range(1, count):
        here = labels == label
        large = here.sum() >= least and min((here & within).sum(), (here & view.cheeks).sum()) >= 0.5 * least
        if large and (here & rim).sum() >= _LEAST_ON_RIM:
            chosen[here] = 1
    return chosen
