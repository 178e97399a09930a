"""Mouth, face and background of a clip, the same for every evaluation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from common.face import face_mask, lip_mask
from evaluation.dubbed_clip import FaceRegions, Mask
from stage1_generator.companions.masks import grow_mask

MOUTH_GROWTH = 0.02
"""The mouth's region reaches this share of the crop beyond the lips."""

COVERED = 240
"""Opacity (of 255) from which a pixel is covered: a half-transparent edge is neither face nor occluder."""


def face_regions(
    source: NDArray[np.floating], truth: NDArray[np.floating] | None, size: int, occluder: Mask | None = None
) -> FaceRegions:
    """Regions of a clip in crop pixels.

    Args:
        source: (N, 68, 2 or 3) landmarks of the source; NaN rows where there is no face.
        truth: (M, 68, 2 or 3) of the true video, M <= N, whose mouth belongs to the region, too.
        size: side of the crops.
        occluder: (N, S, S) what covers the face, where known.
    """
    lips = np.asarray(lip_mask(source, size))
    if truth is not None:
        lips[: len(truth)] |= np.asarray(lip_mask(truth, size))
    mouth = grow_mask(lips, max(1, round(MOUTH_GROWTH * size)))
    face = np.asarray(face_mask(source, size))
    return FaceRegions(mouth, face & ~mouth, ~face & ~mouth, occluder)
