"""Findings in the pixels of a frame, and the share of the mouth that they cover."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from common.face.hands import hand_mask
from common.face.masks import disc
from common.face.occlusion.picture import (
    HEIGHT,
    WIDTH,
    LowerFaceView,
    inverse_affine,
    mouth_area,
    move,
    view_of,
)
from common.face.occlusion.things import REACH, over_lips
from common.face.types import FloatArray


def to_frame(
    disagreement: FloatArray, landmarks: NDArray[np.floating], roi: tuple[int, int, int, int]
) -> FloatArray:
    """A map of the small picture in the pixels of a frame.

    Args:
        disagreement: (HEIGHT, WIDTH) 0..1.
        landmarks: (68, 2 or 3) of the frame, finite.
        roi: x0, y0, x1, y1, whole pixels.

    Returns:
        (y1 - y0, x1 - x0) float32 0..1, 0 outside the small picture.
    """
    x0, y0, x1, y1 = roi
    shape = (y1 - y0, x1 - x0)
    if not disagreement.any():
        return np.zeros(shape, np.float32)
    matrix = view_of(landmarks).matrix.copy()
    matrix[:, 2] -= (x0, y0)
    shown = cv2.warpAffine(np.asarray(disagreement, np.float32), matrix, shape[::-1])
    return np.clip(shown, 0, 1).astype(np.float32)


def keep_mask(
    disagreement: FloatArray,
    hands: Sequence[FloatArray],
    landmarks: NDArray[np.floating],
    roi: tuple[int, int, int, int],
) -> FloatArray:
    """Where the pixels of the source stay: 1 on a thing or a hand, 0 on a free face, soft between.

    Args:
        disagreement: (HEIGHT, WIDTH) of the frame, after :func:`~common.face.occlusion.calm.calm`.
        hands: (21, 2) points in frame pixels each, after :func:`~common.face.occlusion.calm.calm_hands`.
        landmarks: (68, 2 or 3) of the frame, finite.
        roi: x0, y0, x1, y1, whole pixels of the frame.

    Returns:
        (y1 - y0, x1 - x0) float32.
    """
    things = to_frame(disagreement, landmarks, roi)
    if not hands:
        return things
    return np.maximum(things, hand_mask(hands, (roi[3] - roi[1], roi[2] - roi[0]), (roi[0], roi[1])))


def covered(
    disagreement: FloatArray,
    hands: Sequence[FloatArray] = (),
    landmarks: NDArray[np.floating] | None = None,
) -> float:
    """Share of the mouth area that is covered, or suspected to be, 0..1.

    Args:
        disagreement: (HEIGHT, WIDTH) of the frame.
        hands: (21, 2) points in frame pixels each.
        landmarks: (68, 2 or 3) of the frame; needed where there are hands.
    """
    if hands and landmarks is not None:
        disagreement = np.maximum(np.abs(disagreement), _small_hands(hands, view_of(landmarks)))
    return float(np.abs(disagreement)[mouth_area()].mean())


def beside_hands(disagreement: FloatArray, hands: Sequence[FloatArray], view: LowerFaceView) -> FloatArray:
    """(HEIGHT, WIDTH) of a frame, with what is only suspected as certain where a hand is seen at it.

    Args:
        disagreement: (HEIGHT, WIDTH) -1..1.
        hands: (21, 2) points in frame pixels each.
        view: of the frame.
    """
    suspected = disagreement < -0.5
    if not hands or not suspected.any():
        return disagreement
    near = cv2.dilate((_small_hands(hands, view) > 0.5).astype(np.uint8), disc(REACH)).astype(bool)
    return over_lips(np.abs(disagreement), view) if (near & suspected).any() else disagreement


def _small_hands(hands: Sequence[FloatArray], view: LowerFaceView) -> FloatArray:
    back = inverse_affine(view.matrix)
    return hand_mask([move(back, hand).astype(np.float32) for hand in hands], (HEIGHT, WIDTH))
