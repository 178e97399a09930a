"""The small picture of the lower face in one frame, and where it lies."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from common.face.canonical import cheek_points, face_points
from common.face.layout import JAW, OUTER_LIP
from common.face.masks import disc
from common.face.pose import Array, HeadPose, fit_pose
from common.face.types import ImageArray

Flags = NDArray[np.bool_]
WIDTH, HEIGHT = 48, 40
"""The small picture of the lower face, in pixels."""
# Canonical units (distance of the outer eye corners) per pixel of the small picture, and the canonical place
# of its corner: from just below the eyes to under a wide open jaw.
_STEP = 0.0375
_CORNER = (-0.5 * WIDTH * _STEP, 0.15)
# The small picture is a slice through the canonical head at this depth: that of lips and cheeks.
_DEPTH = 0.12
# The outline of the face, drawn in by this much: hair and background that a turn brings in are no thing.
_DRAWN_IN = 0.95
# Drawn so many times larger first, whose blocks are then averaged: no aliasing.
_FINE = 4
_SUBPIXEL_BITS = 4
# So far around the lips everything may be the mouth's, pixels.
_AROUND_LIPS = 2
# Canonical half axes and centre of the mouth area, closed to moderately open.
_MOUTH_CENTRE, _MOUTH_AXES = (0.0, 0.86), (0.36, 0.25)


@dataclass(frozen=True)
class LowerFaceView:
    """Where the small picture lies in one frame.

    Attributes:
        matrix: (2, 3), from pixels of the small picture to pixels of the frame.
        inside: (HEIGHT, WIDTH) bool, where it shows the lower face.
        cheeks: (HEIGHT, WIDTH) bool, the part of it that lies clear of the lips as the landmarks have them.
        turn: (2,) yaw and pitch, radians.
    """

    matrix: Array
    inside: Flags
    cheeks: Flags
    turn: Array


@dataclass(frozen=True)
class LowerFace:
    """The small picture of one frame's lower face, (HEIGHT, WIDTH, 3) uint8 RGB, and where it lies."""

    picture: ImageArray
    view: LowerFaceView

    @classmethod
    def of(
        cls, image: ImageArray, landmarks: NDArray[np.floating], pose: HeadPose | None = None
    ) -> LowerFace:
        """Of a frame (H, W, 3) uint8 RGB with finite landmarks (68, 2 or 3); ``pose``: theirs, if known."""
        view = view_of(landmarks, pose)
        return cls(_small(image, view), view)


def view_of(landmarks: NDArray[np.floating], pose: HeadPose | None = None) -> LowerFaceView:
    pose = fit_pose(np.asarray(landmarks, np.float64)[None]) if pose is None else pose
    rows = pose.scale[0] * pose.rotation[0, :2]
    # Weak perspective shows a plane by an affine map: p = rows @ (x, y, depth) + translation, where pixel u
    # of the small picture has x = left + step (u + 1/2).
    first = np.array([_CORNER[0] + _STEP / 2, _CORNER[1] + _STEP / 2, _DEPTH])
    matrix = np.column_stack([rows[:, :2] * _STEP, pose.translation[0] + rows @ first])
    back = inverse_affine(matrix)
    inside = _hull(move(back, pose.project(_outline())[0]))
    lips = _hull(move(back, np.asarray(landmarks, np.float64)[list(OUTER_LIP), :2]))
    cheeks = inside & (cv2.dilate(lips.astype(np.uint8), disc(_AROUND_LIPS)) == 0)
    return LowerFaceView(matrix, inside, cheeks, np.arcsin(np.clip(pose.rotation[0, :2, 2], -1, 1)))


@cache
def _outline() -> Array:
    """Canonical points (P, 3) around the lower face, jaw closed."""
    face = face_points()
    points = np.concatenate([face[list(JAW)], cheek_points(), face[28:30]])
    return np.asarray(points * [_DRAWN_IN, 1.0, 1.0])


def _hull(points: Array) -> Flags:
    hull = cv2.convexHull(np.round(points * (1 << _SUBPIXEL_BITS)).astype(np.int32))
    canvas = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.fillConvexPoly(canvas, hull, (1,), shift=_SUBPIXEL_BITS)
    return canvas.astype(bool)


def inverse_affine(matrix: Array) -> Array:
    """The inverse of a (2, 3) affine map."""
    inverse = np.linalg.pinv(matrix[:, :2])
    return np.column_stack([inverse, -inverse @ matrix[:, 2]])


def move(matrix: Array, points: NDArray[np.floating]) -> Array:
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2], np.float64)


@cache
def mouth_area() -> Flags:
    """(HEIGHT, WIDTH) bool, where lips usually are."""
    y, x = (np.mgrid[:HEIGHT, :WIDTH] + 0.5) * _STEP + np.reshape(_CORNER[::-1], (2, 1, 1))
    (x0, y0), (a, b) = _MOUTH_CENTRE, _MOUTH_AXES
    return np.asarray(((x - x0) / a) ** 2 + ((y - y0) / b) ** 2 <= 1)


def _small(image: ImageArray, view: LowerFaceView) -> ImageArray:
    """(HEIGHT, WIDTH, 3) uint8 RGB: the lower face seen from the front, as if it were flat."""
    # Pixel centres: fine pixel v lies at u = (v + 1/2) / fine - 1/2.
    first = np.full(2, 0.5 / _FINE - 0.5)
    matrix = np.column_stack([view.matrix[:, :2] / _FINE, move(view.matrix, first)])
    size = (WIDTH * _FINE, HEIGHT * _FINE)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    large = cv2.warpAffine(image, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.resize(large, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), np.uint8)
