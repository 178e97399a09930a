"""Frames as they are stored and as the autoencoder sees them: one conversion for all who need it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def to_video(frames: NDArray[np.uint8]) -> Tensor:
    """(..., N, H, W, 3) uint8 -> (..., 3, N, H, W) float32 in [-1, 1]."""
    video = torch.from_numpy(np.ascontiguousarray(frames)).float().div_(127.5).sub_(1.0)
    return video.movedim(-1, -4)


def to_frames(video: Tensor) -> NDArray[np.uint8]:
    """The inverse of `to_video`, rounded and clipped."""
    pixels = video.float().add(1.0).mul(127.5).round().clamp(0, 255).to(torch.uint8)
    return pixels.movedim(-4, -1).contiguous().cpu().numpy()
