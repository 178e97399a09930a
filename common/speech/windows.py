"""Which speech features each latent frame is given."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from common.geometry import TEMPORAL_STRIDE

FEATURES_PER_FRAME = 2  # 50 Hz features, 25 fps video
BASE_WINDOW = 8

Array = TypeVar("Array", npt.NDArray[np.float32], Tensor)


def window_indices(start_frame: int, latent_frames: int, extra: int = 0) -> npt.NDArray[np.int64]:
    """(latent_frames, 8 + 2 * extra) feature indices, not yet clamped (R, docs/notation.md §2).

    With s = ``start_frame``, the first video frame of the clip: latent frame 0 gets [2(s-3), 2(s+1)), latent
    frame k > 0 gets [2c, 2(c+4)) with c = s + 4(k-1) + 1. ``extra`` widens every window on both sides (P,
    stage 1: 4).
    """
    first_video_frame = start_frame + TEMPORAL_STRIDE * (np.arange(latent_frames, dtype=np.int64) - 1) + 1
    span = np.arange(-extra, BASE_WINDOW + extra, dtype=np.int64)
    return FEATURES_PER_FRAME * first_video_frame[:, None] + span


def audio_windows(features: Array, start_frame: int, latent_frames: int, extra: int = 0) -> Array:
    """(T, C) features of a track -> (latent_frames, 8 + 2 * extra, C) windows of the clip at ``start_frame``.

    Indices beyond the track are clamped: its first or last feature is repeated.
    """
    if features.ndim != 2 or features.shape[0] == 0:
        raise ValueError(f"features are {tuple(features.shape)}, not (T, C) with T > 0")
    indices = window_indices(start_frame, latent_frames, extra).clip(0, features.shape[0] - 1)
    if isinstance(features, Tensor):
        return features[torch.from_numpy(indices).to(features.device)]
    return features[indices]


def feature_margin(extra: int = 0) -> int:
    """Video frames of features to keep on each side of a clip, so that no window of it is clamped."""
    return 3 + -(-extra // FEATURES_PER_FRAME)


def stored_margin(features: int, frames: int) -> int:
    """Video frames of margin on each side of a clip of ``frames`` frames, stored with that many features."""
    return (features // FEATURES_PER_FRAME - frames) // 2


def clip_features(features: Array, start_frame: int, frames: int, margin: int) -> Array:
    """(T, C) -> (2 * (frames + 2 * margin), C): a clip's features and ``margin`` frames on each side.

    Beyond the track its first or last feature is repeated, so that ``audio_windows(result, margin, ...)``
    equals ``audio_windows(features, start_frame, ...)``.
    """
    first = FEATURES_PER_FRAME * (start_frame - margin)
    indices = np.arange(first, first + FEATURES_PER_FRAME * (frames + 2 * margin))
    indices = indices.clip(0, features.shape[0] - 1)
    if isinstance(features, Tensor):
        return features[torch.from_numpy(indices).to(features.device)]
    return features[indices]
