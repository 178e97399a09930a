"""The lower face of one frame laid into another: turned with the head, bent into place, in its light."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator

from common.data.warp import bent
from common.face.layout import RIGID_UPPER

# The bend is found at the middles of blocks of so many pixels (of a crop of 128) and smooth between them.
_BLOCKS = 16
# Thin plates need not pass through noisy points exactly.
_SLACK = 4.0
# Light differs smoothly over a face: deviation of the weights, as a share of the side.
_LIGHT = 0.1
# Levels beside the usual difference from which on one counts less: that is no light but another thing.
_ODD = 16.0


def turn_apart(landmarks: NDArray[np.floating], wanted: NDArray[np.floating]) -> NDArray[np.float64]:
    """(N,) angles in radians between the heads of landmarks (N, 68, 3) and wanted (N, 68, 3)."""
    _, rotation, _ = _rigid(landmarks, wanted)
    cosine = (np.trace(rotation, axis1=1, axis2=2) - 1) / 2
    return np.asarray(np.arccos(cosine.clip(-1, 1)))


def laid_in(
    frames: NDArray[np.uint8], landmarks: NDArray[np.floating], wanted: NDArray[np.floating]
) -> NDArray[np.uint8]:
    """Each frame bent so that its head is held as in the wanted landmarks, with its own mouth and chin.

    Landmarks turn in space with their rigid upper points (least squares); pixels follow by thin plates.

    Args:
        frames: (N, S, S, 3).
        landmarks, wanted: (N, 68, 3) finite, crop pixels.
    """
    scale, rotation, shift = _rigid(landmarks, wanted)
    turned = scale[:, None, None] * np.einsum("nij,npj->npi", rotation, landmarks) + shift[:, None]
    pairs = zip(frames, np.asarray(landmarks[..., :2], np.float64), turned[..., :2], strict=True)
    return np.stack([_plated(frame, own, goal) for frame, own, goal in pairs])


def in_light_of(
    original: NDArray[np.uint8], moved: NDArray[np.uint8], border: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """Moved frames plus the smooth difference of levels that they have to the original on their border.

    Args:
        original, moved: (N, S, S, 3).
        border: (N, S, S), where both show the same skin.
    """
    deviation, matched = _LIGHT * original.shape[1], []
    for ours, theirs, where in zip(original, moved, border, strict=True):
        apart = ours.astype(np.float32) - theirs
        usual = np.median(apart[where], axis=0) if where.any() else 0.0
        known = where / (1 + np.square((apart - usual) / _ODD).max(axis=-1))
        apart *= known[..., None]
        weight = cv2.GaussianBlur(known, (0, 0), deviation, borderType=cv2.BORDER_CONSTANT)
        spread = cv2.GaussianBlur(apart, (0, 0), deviation, borderType=cv2.BORDER_CONSTANT)
        light = spread / np.maximum(weight, 1e-6)[..., None]
        matched.append(np.rint(theirs + light).clip(0, 255).astype(np.uint8))
    return np.stack(matched)


def _rigid(
    landmarks: NDArray[np.floating], wanted: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Scales (N,), rotations (N, 3, 3) and shifts (N, 3) in space that take rigid points onto the wanted ones
    (Umeyama 1991)."""
    rigid = list(RIGID_UPPER)
    here, there = (np.asarray(points[:, rigid], np.float64) for points in (landmarks, wanted))
    centre, goal = here.mean(axis=1), there.mean(axis=1)
    here, there = here - centre[:, None], there - goal[:, None]
    left, stretch, right = np.linalg.svd(np.einsum("npi,npj->nij", there, here))
    sign = np.ones((len(here), 3))
    sign[:, 2] = np.where(np.linalg.det(left @ right) < 0, -1, 1)
    rotation = (left * sign[:, None]) @ right
    scale = (stretch * sign).sum(axis=1) / (here**2).sum(axis=(1, 2))
    return scale, rotation, goal - scale[:, None] * np.einsum("nij,nj->ni", rotation, centre)


def _plated(
    frame: NDArray[np.uint8], own: NDArray[np.float64], goal: NDArray[np.float64]
) -> NDArray[np.uint8]:
    side = frame.shape[0]
    middles = (np.arange(_BLOCKS) + 0.5) * side / _BLOCKS - 0.5
    grid = np.stack(np.meshgrid(middles, middles), axis=-1).reshape(-1, 2)
    slack = _SLACK * (side / 128) ** 2
    plates = RBFInterpolator(goal, own - goal, kernel="thin_plate_spline", smoothing=slack)
    offsets = plates(grid).reshape(_BLOCKS, _BLOCKS, 2).astype(np.float32)
    whole = cv2.resize(offsets, (side, side), interpolation=cv2.INTER_CUBIC)
    return bent(frame, np.asarray(whole, np.float32), cv2.INTER_CUBIC, cv2.BORDER_REFLECT)
