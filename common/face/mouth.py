"""Numbers about the mouth: how far it is open, how far two mouths differ."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from common.face.layout import CHIN, INNER_LIP_PAIRS, MOUTH, OUTER_EYE_CORNERS, RIGID_UPPER
from common.face.pose import rigid_similarity

Array = NDArray[np.float64]

# Eye centres of the 112-pixel ArcFace template are 35.24 px apart; outer corners stand in the ratio of the
# canonical head's outer-corner distance (1) to its distance of eye centres (0.692).
_ALIGNED_OUTER_CORNERS = 35.24 / 0.692


def mouth_opening(landmarks: NDArray[np.floating]) -> Array:
    """Inner-lip gap over the distance of the outer eye corners, (N,) for landmarks (N, 68, 2 or 3).

    The gap is the mean of the pairs 61-67, 62-66 and 63-65 in the image plane. The eye-corner distance takes
    depth along where it is given, so that turning the head does not look like opening the mouth. NaN rows
    give NaN.
    """
    points = np.asarray(landmarks, np.float64)
    upper, lower = (list(side) for side in zip(*INNER_LIP_PAIRS, strict=True))
    gap = np.linalg.norm(points[:, upper, :2] - points[:, lower, :2], axis=-1).mean(axis=1)
    right, left = OUTER_EYE_CORNERS
    return gap / np.linalg.norm(points[:, right] - points[:, left], axis=-1)


def lip_distance(landmarks_a: NDArray[np.floating], landmarks_b: NDArray[np.floating]) -> float:
    """Mean distance of the 20 mouth points of two clips in a 112-pixel aligned face (P section 4; spec: >=
    1.0).

    Both inputs are (N, 68, 2 or 3) of the same frames. Each frame is brought to a common place, size and tilt
    by its own rigid upper points; aligning by the mouth as ArcFace's template does would cancel part of what
    is measured (G). Frames that are NaN in either are left out.

    Raises:
        ValueError: shapes differ, or no frame has both faces.
    """
    if landmarks_a.shape != landmarks_b.shape:
        raise ValueError(f"clips of different shape: {landmarks_a.shape} and {landmarks_b.shape}")
    a, b = (np.asarray(x[..., :2], np.float64) for x in (landmarks_a, landmarks_b))
    both = np.isfinite(a).all(axis=(1, 2)) & np.isfinite(b).all(axis=(1, 2))
    if not both.any():
        raise ValueError("no frame shows both faces")
    a, b = a[both], b[both]
    factor, shift = rigid_similarity(b, a)
    za, zb = (x[..., 0] + 1j * x[..., 1] for x in (a, b))
    right, left = OUTER_EYE_CORNERS
    unit = np.abs(za[:, left] - za[:, right]) / _ALIGNED_OUTER_CORNERS
    mouth = list(MOUTH)
    apart = za[:, mouth] - (factor[:, None] * zb[:, mouth] + shift[:, None])
    return float((np.abs(apart) / unit[:, None]).mean())


def mouth_shape(landmarks: NDArray[np.floating]) -> Array:
    """The 20 mouth points and the chin in the face's own frame, (N, 21, 2) of landmarks (N, 68, 2 or 3).

    Unit is the distance of the outer eye corners, x runs along them, the origin is the mean of the rigid
    upper points: turning the head in the picture, nearness and place do not show. NaN rows give NaN.
    """
    points = np.asarray(landmarks[..., :2], np.float64)
    plane = points[..., 0] + 1j * points[..., 1]
    plane = plane - plane[:, list(RIGID_UPPER)].mean(axis=1, keepdims=True)
    right, left = OUTER_EYE_CORNERS
    # Over a clip the head turns, which shortens the eyes' distance but hardly the mouth's height.
    unit = np.abs(plane[:, left] - plane[:, right])
    with np.errstate(invalid="ignore"):
        direction = (plane[:, left] - plane[:, right]) / unit
        shown = plane[:, [*MOUTH, CHIN]] / direction[:, None] / np.nanmedian(unit)
    return np.stack([shown.real, shown.imag], axis=-1)


LIP_SHAPE = ("gap_right", "gap", "gap_left", "width", "chin", "upper_lip", "lower_lip")
"""What :func:`lip_shape` measures. The gaps are those of the inner lip; the others say how far the mouth's
width, the chin and the outer lips' middles (downwards) are from where they are on average over the clip."""
LIP_GAPS = len(INNER_LIP_PAIRS)
"""So many values of a lip shape, the first, are gaps."""
LIP_SHAPE_UNIT = 0.05
"""Eye-corner distances."""


def lip_shape(landmarks: NDArray[np.floating]) -> Array:
    """What speech does to a mouth, (N, 7) of landmarks (N, 68, 2 or 3), in units of :data:`LIP_SHAPE_UNIT`.

    Gaps are absolute: 0 is closed. The width of the mouth and the place of the chin are given less their mean
    over the clip: their absolute values belong to the person, not to the speech. NaN rows give NaN.
    """
    mouth = mouth_shape(landmarks)
    first = MOUTH[0]
    gaps = [mouth[:, low - first, 1] - mouth[:, up - first, 1] for up, low in INNER_LIP_PAIRS]
    width = mouth[:, 54 - first, 0] - mouth[:, 48 - first, 0]
    heights = [mouth[:, -1, 1], mouth[:, 51 - first, 1], mouth[:, 57 - first, 1]]
    moving = np.stack([width, *heights], axis=1)
    moving = moving - np.nanmean(moving, axis=0)
    return np.concatenate([np.stack(gaps, axis=1), moving], axis=1) / LIP_SHAPE_UNIT
