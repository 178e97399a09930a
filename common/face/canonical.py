"""The canonical head: a neutral face, its widest jaw opening and its placement in a box."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from common.face.canonical_points import CHEEKS, FACE_68, FOREHEAD
from common.face.layout import JAW, OUTER_LIP
from common.face.types import FloatArray

Points = NDArray[np.float64]

# The widest opening that speech and laughter reach (an inner-lip gap of about half the outer eye-corner
# distance). A jaw turns about a hinge in front of the ears and its head slides forward and down as it does
# so; turning alone would carry the chin backwards into the neck and hardly down.
JAW_ROTATION_DEGREES = 18.0
JAW_SLIDE = (0.0, 0.16, -0.12)


def face_points() -> Points:
    """(68, 3) neutral face, closed mouth; axes and unit as in :mod:`common.face.canonical_points`."""
    return np.asarray(FACE_68, dtype=np.float64)


def forehead_points() -> Points:
    """(5, 3) upper edge of the forehead, from image left to right."""
    return np.asarray(FOREHEAD, dtype=np.float64)


def cheek_points() -> Points:
    """(6, 3) cheeks at the height of the middle of the nose, from image left to right."""
    return np.asarray(CHEEKS, dtype=np.float64)


def open_jaw(points: Points) -> Points:
    """``points`` (P, 3) of the jaw after the widest opening: turned about the hinge and slid.

    The hinge is the axis through the two points just below the temples (1 and 15).
    """
    face = face_points()
    hinge = (face[1] + face[15]) / 2
    angle = np.deg2rad(JAW_ROTATION_DEGREES)
    turn = np.array(
        [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]], dtype=np.float64
    )
    return (points - hinge) @ turn.T + hinge + np.asarray(JAW_SLIDE)


def opened_face_points() -> Points:
    """(68, 3) face with the jaw at its widest: chin line and lower lip lowered."""
    face = face_points()
    lower = [*JAW, *OUTER_LIP[7:], *range(65, 68)]
    face[lower] = open_jaw(face[lower])
    return face


def face_in_box(box: FloatArray) -> FloatArray:
    """The neutral face placed in a box x0 y0 x1 y1 (pixels), frontal: (68, 3) float32.

    One scale for both axes (the mean of what width and height ask for), so that the face keeps its shape in a
    box of other proportions.
    """
    face = face_points()
    low, high = face[:, :2].min(axis=0), face[:, :2].max(axis=0)
    corner, size = np.asarray(box[:2], np.float64), np.asarray(box[2:] - box[:2], np.float64)
    scale = float((size / (high - low)).mean())
    placed = face * scale
    placed[:, :2] += corner + size / 2 - scale * (low + high) / 2
    return placed.astype(np.float32)
