"""Hands before a face: found by MediaPipe, whose model comes inside the wheel, and drawn as soft masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from common.face.graphs import close_with, import_solution
from common.face.quiet import landmarks_found, without_chatter, without_first_chatter
from common.face.types import FloatArray, ImageArray

# Hands are looked for in a square around the face, so many times its longer side, drawn at this many pixels:
# the model's own input has 192.
_AREA = 2.2
_SIDE = 256
# While there is no hand, only every so many frames are searched: the search is the dear part.
_SEARCH_EVERY = 3
_MIN_CONFIDENCE = 0.6
# Fingers and thumb from knuckle to tip, and the knuckles and wrist that enclose the palm.
_FINGERS = ((1, 2, 3, 4), (5, 6, 7, 8), (9, 10, 11, 12), (13, 14, 15, 16), (17, 18, 19, 20))
_PALM = (0, 1, 5, 9, 13, 17)
# Half the width of a finger, over the length of the palm (wrist to middle knuckle).
_FINGER = 0.13
# Fingers are widened by this part of their half width.
_GROWTH = 0.35
_SUBPIXEL_BITS = 4


class HandFinder:
    """Finds up to two hands near a face. Frames of one clip are given in order.

    Raises:
        UserError: this MediaPipe has no hands.
    """

    def __init__(self) -> None:
        with without_chatter():
            self._hands = _build()
            self._start()
        close_with(self, self._hands)
        self._rest = 0
        self._fresh = True
        self.searched = False

    def _start(self) -> None:
        # Returns only when all threads of the graph have started, which print while they do.
        self._hands.process(np.zeros((64, 64, 3), np.uint8))

    def reset(self) -> None:
        """Forget the clip so far."""
        self._rest = 0
        if not self._fresh:
            with without_chatter():
                self._hands.reset()
                self._start()
            self._fresh = True

    def find(self, image: ImageArray, box: NDArray[np.floating]) -> list[FloatArray]:
        """Hands of a frame.

        Args:
            image: (H, W, 3) uint8 RGB.
            box: (4,) of the face, x0 y0 x1 y1 pixels.

        Returns:
            (21, 2) float32 points per hand, in pixels of ``image``; an empty list where there is none. While
            there is none only every third frame is searched; ``searched`` says whether this one was.
        """
        self.searched = self._rest == 0
        if not self.searched:
            self._rest -= 1
            return []
        side = max(_AREA * float((box[2:] - box[:2]).max()), 8.0)
        scale, middle = _SIDE / side, (np.asarray(box[:2], np.float64) + box[2:]) / 2
        shift = (_SIDE - 1) / 2 - scale * middle
        found = self._look(_cut(image, scale, shift))
        self._rest = 0 if found else _SEARCH_EVERY - 1
        # MediaPipe measures from the corner of the first pixel, this package from its centre.
        return [((points * _SIDE - 0.5 - shift) / scale).astype(np.float32) for points in found]

    def _look(self, picture: ImageArray) -> list[NDArray[np.float64]]:
        """(21, 2) points per hand, in parts of the picture's sides."""
        self._fresh = False
        # Where faces are taken from a record this graph is the first one.
        with without_first_chatter():
            hands = self._hands.process(picture).multi_hand_landmarks or []
        if hands:
            landmarks_found()
        return [np.array([(p.x, p.y) for p in hand.landmark], np.float64) for hand in hands]


def _build() -> Any:
    try:
        return import_solution("hands").Hands(
            model_complexity=0,
            max_num_hands=2,
            min_detection_confidence=_MIN_CONFIDENCE,
            min_tracking_confidence=_MIN_CONFIDENCE,
        )
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"This MediaPipe cannot find hands ({error}): install mediapipe 0.10.21, or leave hands out."
        ) from error


def _cut(image: ImageArray, scale: float, shift: NDArray[np.float64]) -> ImageArray:
    """(_SIDE, _SIDE, 3): pixel p of the image at scale * p + shift, black outside, without aliasing."""
    block = max(int(1 / scale), 1)
    if block > 1:
        low = np.floor(-shift / scale).astype(int).clip(0)
        high = np.ceil((_SIDE - shift) / scale).astype(int) + block
        part = image[low[1] : high[1], low[0] : high[0]]
        width, height = part.shape[1] // block, part.shape[0] // block
        if not width or not height:
            return np.zeros((_SIDE, _SIDE, 3), np.uint8)
        part = part[: height * block, : width * block]
        image = np.asarray(cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        # Pixel centres: (x + 1/2) scales, not x.
        shift = shift + scale * (low + (block - 1) / 2)
    matrix = np.column_stack([np.eye(2) * scale * block, shift])
    return np.asarray(cv2.warpAffine(image, matrix, (_SIDE, _SIDE)), np.uint8)


def hand_mask(
    hands: Sequence[FloatArray],
    shape: tuple[int, int],
    origin: tuple[float, float] = (0.0, 0.0),
) -> FloatArray:
    """Soft mask of hands: thick lines along the fingers and the palm's hull, slightly grown and feathered.

    Args:
        hands: (21, 2) points in frame pixels, each.
        shape: (h, w) of the mask.
        origin: x, y of the frame pixel at the mask's first pixel.

    Returns:
        (h, w) float32, 1 on the hand, 0 away from it.
    """
    mask = np.zeros(shape, np.float32)
    for hand in hands:
        points = np.asarray(hand, np.float64) - origin
        radius = _FINGER * _palm_length(points)
        drawn = _draw(points, shape, radius * (1 + _GROWTH))
        feather = max(0.5 * radius, 0.5)
        mask = np.maximum(mask, cv2.GaussianBlur(drawn, (0, 0), feather))
    return np.asarray(mask, np.float32)


def _palm_length(points: NDArray[np.float64]) -> float:
    """Wrist to middle knuckle, or the breadth of the palm times 1.3 where the hand points at the camera."""
    return float(max(np.linalg.norm(points[9] - points[0]), 1.3 * np.linalg.norm(points[5] - points[17])))


def _draw(points: NDArray[np.float64], shape: tuple[int, int], radius: float) -> FloatArray:
    canvas = np.zeros(shape, np.uint8)
    fixed = np.round(points * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    thick = max(round(2 * radius), 1)
    hull = cv2.convexHull(fixed[list(_PALM)])
    cv2.fillConvexPoly(canvas, hull, (255,), lineType=cv2.LINE_AA, shift=_SUBPIXEL_BITS)
    lines = [fixed[list(finger)] for finger in _FINGERS]
    cv2.polylines(canvas, lines, False, (255,), thick, cv2.LINE_AA, _SUBPIXEL_BITS)
    cv2.polylines(canvas, [hull[:, 0]], True, (255,), thick, cv2.LINE_AA, _SUBPIXEL_BITS)
    return canvas.astype(np.float32) / 255
