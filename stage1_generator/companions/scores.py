"""Quality measures of a companion: identity, lips, sharpness. Thresholds are in the ``filters`` section."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from common.face import FaceDetector, lip_distance, track_face
from common.face.identity import IdentityEncoder, identity_similarity

# With fewer re-detected frames a companion counts as having no face.
_LEAST_PRESENCE = 0.8


def lip_landmark_distance(
    landmarks: NDArray[np.float32], companion: NDArray[np.uint8], detector: FaceDetector
) -> float | None:
    """Mean mouth-landmark distance in a 112-pixel aligned face; None where the companion's face is not found.

    Args:
        landmarks: (N, 68, 3) of the original, crop pixels.
        companion: (N, S, S, 3).
    """
    track = track_face(companion, detector)
    if track.present.mean() < _LEAST_PRESENCE:
        return None
    seen = np.where(track.present[:, None, None], track.landmarks, np.nan)
    return lip_distance(landmarks, seen.astype(np.float32))


def lip_change(original: NDArray[np.uint8], companion: NDArray[np.uint8], lips: NDArray[np.bool_]) -> float:
    """Mean absolute difference (0..1) inside the lip masks (N, S, S) of the original."""
    if not lips.any():
        return 0.0
    return float(cv2.absdiff(original, companion)[lips].mean() / 255.0)


def region_psnr(
    original: NDArray[np.uint8], companion: NDArray[np.uint8], region: NDArray[np.bool_]
) -> float:
    """Peak signal-to-noise ratio in dB over ``region`` (N, S, S); 60 at most, as of videos that are equal."""
    if not region.any():
        return 60.0
    error = np.square(original[region].astype(np.float64) - companion[region]).mean() / 255**2
    return float(-10 * np.log10(max(error, 1e-6)))


def sharpness_ratio(
    original: NDArray[np.uint8], companion: NDArray[np.uint8], region: NDArray[np.bool_]
) -> float:
    """Laplacian variance of the companion over the original's, inside `region` (N, S, S), mean over frames.

    About 1 for equal sharpness, below for blur, above for noise or ringing.
    """
    ratios = []
    for before, after, where in zip(original, companion, region, strict=True):
        if where.any():
            ratios.append(_laplacian_variance(after, where) / max(_laplacian_variance(before, where), 1e-3))
    return float(np.mean(ratios)) if ratios else 1.0


def _laplacian_variance(image: NDArray[np.uint8], where: NDArray[np.bool_]) -> float:
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(gray, cv2.CV_32F)[where].var())


def identity_cosine(
    original: NDArray[np.uint8],
    companion: NDArray[np.uint8],
    landmarks: NDArray[np.float32],
    encoder: IdentityEncoder,
) -> float:
    """Cosine of the mean ArcFace embeddings of two clips (M, S, S, 3) that share the landmarks (M, 68, 3)."""
    means = [
        np.mean([encoder.embed(image, points) for image, points in zip(clip, landmarks, strict=True)], axis=0)
        for clip in (original, companion)
    ]
    return identity_similarity(*means)
