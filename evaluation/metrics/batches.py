"""Frames as the judge networks want them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from evaluation.dubbed_clip import Frames

BATCH = 4
"""Frames that a judge sees at once, so that memory does not grow with the clip."""


def to_tensor(frames: Frames, device: str = "cpu") -> Tensor:
    """(N, S, S, 3) uint8 -> (N, 3, S, S) float32 in [-1, 1]."""
    pictures = torch.from_numpy(np.ascontiguousarray(frames)).to(device)
    return pictures.permute(0, 3, 1, 2).float() / 127.5 - 1


def batches(frames: Frames, device: str = "cpu") -> Iterator[Tensor]:
    """(N, S, S, 3) uint8, ``BATCH`` at a time, as :func:`to_tensor` gives them."""
    for first in range(0, len(frames), BATCH):
        yield to_tensor(frames[first : first + BATCH], device)
