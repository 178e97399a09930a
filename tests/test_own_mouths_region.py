"""Where a new mouth is laid into a frame."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from own_mouth_clips import head, mouth

from common.face.layout import OUTER_LIP
from common.own_mouths.frame import FaceAxes
from common.own_mouths.region import MouthMask, mouth_mask, mouth_region

SIZE = 320
UNIT = 120.0


def _mask(points: np.ndarray, new: np.ndarray) -> MouthMask:
    axes = FaceAxes.of(points, UNIT)
    face, goal = axes.to_face(points[:, :2]), axes.to_face(new[:, :2])
    region = mouth_region(axes, goal, (SIZE, SIZE))
    assert region is not None
    mask = mouth_mask(axes, face, goal, region)
    assert mask is not None
    return mask


def _opacity(mask: MouthMask) -> np.ndarray:
    """(SIZE, SIZE) of the whole picture."""
    whole = np.zeros((SIZE, SIZE), np.float32)
    x0, y0, x1, y1 = mask.spot
    whole[y0:y1, x0:x1] = mask.alpha
    return whole


def _lips(points: np.ndarray) -> np.ndarray:
    seen = np.zeros((SIZE, SIZE), np.uint8)
    cv2.fillPoly(seen, [np.rint(points[list(OUTER_LIP), :2]).astype(np.int32)], (1,))
    return seen > 0


@pytest.mark.parametrize("yaw", [-45, -35, 0, 35, 45])
def test_neither_the_old_lips_nor_the_new_ones_are_seen_through(yaw: float) -> None:
    """A turned head's far corner of the mouth lies close to the outline of the face."""
    was = head(mouth(0.2), yaw=yaw, scale=UNIT, at=(160, 110))
    new = head(mouth(0.0), yaw=yaw, scale=UNIT, at=(160, 110))
    opacity = _opacity(_mask(was, new))
    assert opacity[_lips(was) | _lips(new)].min() > 0.98


def test_guessed_outlines_that_cut_through_the_lips_uncover_nothing() -> None:
    was, new = (head(mouth(gap), scale=UNIT, at=(160, 110)) for gap in (0.2, 0.0))
    for points in (was, new):
        points[4:8, :2] += [60, -20]
    assert _opacity(_mask(was, new))[_lips(was) | _lips(new)].min() > 0.98


def test_the_mask_fades_and_ends_below_the_nose_and_above_the_chin() -> None:
    points = head(mouth(0.1), scale=UNIT, at=(160, 110))
    mask = _mask(points, points)
    opacity = _opacity(mask)
    assert ((opacity > 0.05) & (opacity < 0.95)).sum() > 500
    rows = np.flatnonzero(opacity.any(axis=1))
    assert points[33, 1] < rows[0] and rows[-1] < points[8, 1]
    assert opacity.min() >= 0 and opacity.max() <= 1 + 1e-6
    assert max(mask.alpha[[0, -1]].max(), mask.alpha[:, [0, -1]].max()) < 0.05
