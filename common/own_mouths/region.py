"""The region of a frame that a new mouth changes, and how opaque the mouth is there."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from common.face.layout import CHIN, OUTER_LIP
from common.own_mouths.frame import FaceAxes
from common.own_mouths.plates import Roi

Array = NDArray[np.float64]
Map = NDArray[np.float32]

# Region that the jaw's movement touches, in the face's axes about the mouth: beside it, above, below.
_BESIDE, _ABOVE, _BELOW = 1.05, 0.75, 1.15
# The mask: half width at least, beyond the mouth's corners, gap below the nose and above the chin; it stays
# this far inside of the outline of the jaw, and is soft over this width.
_MASK_HALF, _MASK_BESIDE, _MASK_NOSE, _MASK_CHIN = 0.5, 0.2, 0.015, 0.03
_MASK_POWER, _MASK_INSIDE, _MASK_SOFT = 2.5, 0.035, 0.11
# Lips are covered wholly, and this much around them, softly over this spread: in a turned head their far
# corner lies in the soft border of the mask, or beyond it where the outline of the jaw is guessed.
_LIPS_BESIDE, _LIPS_SOFT = 0.045, 0.015
# The shadow below the old lower lip, which goes with it, reaches so far.
_LIP_SHADOW = 0.06
_LEAST = 1 / 512


@dataclass(frozen=True)
class MouthMask:
    """Where a new mouth is laid into a frame.

    Attributes:
        spot: the pixels of the frame where it is not fully transparent.
        alpha: (h, w) its opacity over the spot.
        x, y: (h, w) the spot's pixels in the face's axes.
    """

    spot: Roi
    alpha: Map
    x: Map
    y: Map


def mouth_region(axes: FaceAxes, goal: Array, shape: tuple[int, ...]) -> Roi | None:
    """An upright box about the mouth and the jaw, within the picture; None where hardly any of it is.

    Args:
        axes: of the frame's face.
        goal: (68, 2) its new face in these axes.
        shape: height and width of the picture, and what follows.
    """
    centre = axes.to_pixels(goal[[48, 54]].mean(axis=0))
    reach = axes.unit * np.array([_BESIDE, _ABOVE, _BESIDE, _BELOW])
    (left, top), (right, bottom) = centre - reach[:2], centre + reach[2:]
    height, width = shape[:2]
    x0, y0 = max(0, int(left)), max(0, int(top))
    x1, y1 = min(width, int(right)), min(height, int(bottom))
    return (x0, y0, x1, y1) if x1 - x0 >= 8 and y1 - y0 >= 8 else None


def mouth_mask(axes: FaceAxes, face: Array, goal: Array, region: Roi) -> MouthMask | None:
    """The opacity of the new mouth; None where none of it is seen.

    Args:
        axes: of the frame's face.
        face, goal: (68, 2) the face as it is and as it shall be, in these axes.
        region: of :func:`mouth_region`.
    """
    centre = goal[[48, 54]].mean(axis=0)
    half = max(_MASK_HALF, 0.5 * abs(goal[54, 0] - goal[48, 0]) + _MASK_BESIDE)
    up = max(centre[1] - face[33, 1] - _MASK_NOSE, 0.05)
    down = max(goal[CHIN, 1] - _MASK_CHIN - centre[1], 0.05)
    radius = int(max(1, _MASK_INSIDE * axes.unit))
    corners = centre + np.array([(x, y) for x in (-half, half) for y in (-up, down)])
    part = _within(region, axes.to_pixels(corners), radius + 2)
    if part is None:
        return None
    x, y = in_face(axes, part)
    aside, height = np.abs(x - np.float32(centre[0])) / np.float32(half), y - np.float32(centre[1])
    height = np.maximum(height / np.float32(-up), height / np.float32(down))
    inside = cv2.pow(aside, _MASK_POWER) + cv2.pow(height, _MASK_POWER) < 1
    outline = axes.to_pixels(np.concatenate([goal[:17], face[30:31]])) - np.array(part[:2])
    within = np.zeros(x.shape, np.uint8)
    cv2.fillPoly(within, [np.rint(outline).astype(np.int32)], (1,))
    deep = cv2.distanceTransform(within, cv2.DIST_L2, 5) > radius
    distance = cv2.distanceTransform((inside & deep).astype(np.uint8), cv2.DIST_L2, 5)
    rise = np.minimum(distance / np.float32(_MASK_SOFT * axes.unit), 1)
    alpha = 0.5 - 0.5 * np.cos(np.pi * rise)
    shadow = face + np.array([0.0, _LIP_SHADOW])
    alpha = np.maximum(alpha, _lips(axes, (face, shadow, goal), part))
    rows, columns = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
    if len(rows) < 4 or len(columns) < 4:
        return None
    inside_rows, inside_columns = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    spot = (
        part[0] + int(columns[0]),
        part[1] + int(rows[0]),
        part[0] + int(columns[-1]) + 1,
        part[1] + int(rows[-1]) + 1,
    )
    cut = (inside_rows, inside_columns)
    return MouthMask(spot, alpha.astype(np.float32)[cut], x[cut], y[cut])


def filled(outline: Array, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """(h, w) of ``shape``: 255 within an outline (n, 2) in pixels, which is known to 1/8 of one."""
    inside = np.zeros(shape, np.uint8)
    cv2.fillPoly(inside, [np.rint(outline * 8).astype(np.int32)], (255,), cv2.LINE_AA, 3)
    return inside


def _lips(axes: FaceAxes, faces: tuple[Array, ...], part: Roi) -> Map:
    """(h, w) 1 on the lips of all faces and close to them, 0 away from them."""
    seen = np.zeros((part[3] - part[1], part[2] - part[0]), np.uint8)
    for face in faces:
        outline = axes.to_pixels(face[list(OUTER_LIP)]) - np.array(part[:2])
        cv2.fillPoly(seen, [np.rint(outline).astype(np.int32)], (1,))
    radius = int(max(1, _LIPS_BESIDE * axes.unit))
    grown = (cv2.distanceTransform(1 - seen, cv2.DIST_L2, 5) <= radius).astype(np.float32)
    soft = cv2.GaussianBlur(grown, (0, 0), max(0.5, _LIPS_SOFT * axes.unit))
    return np.where(soft < _LEAST, np.float32(0), soft)


def _within(region: Roi, points: Array, margin: int) -> Roi | None:
    """The part of a region that holds all points (P, 2) and so many pixels around them; None: nothing is."""
    (x0, y0), (x1, y1) = points.min(axis=0) - margin, points.max(axis=0) + margin + 1
    left, top = max(region[0], int(np.floor(x0))), max(region[1], int(np.floor(y0)))
    right, bottom = min(region[2], int(np.ceil(x1))), min(region[3], int(np.ceil(y1)))
    return (left, top, right, bottom) if right > left and bottom > top else None


def in_face(axes: FaceAxes, region: Roi) -> tuple[Map, Map]:
    """x and y of every pixel of ``region`` in the face's axes."""
    x = np.arange(region[0], region[2], dtype=np.float32) - np.float32(axes.origin[0])
    y = np.arange(region[1], region[3], dtype=np.float32)[:, None] - np.float32(axes.origin[1])
    (ax, ay), (dx, dy) = axes.along / axes.unit, axes.down / axes.unit
    return (
        np.asarray(x * np.float32(ax) + y * np.float32(ay), np.float32),
        np.asarray(x * np.float32(dx) + y * np.float32(dy), np.float32),
    )
