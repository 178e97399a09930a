"""What is drawn for a window of LTX-2: its noise levels and its noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from common.training.draws import Draw

_PURPOSE = "joint"
_FEWEST, _MOST = 1024, 4096
_LOW, _HIGH = 0.95, 2.05


def sigma_centre(tokens: int) -> float:
    """Where the logit of the noise level is centred, of a target of so many video tokens (LTX-2)."""
    return _LOW + (_HIGH - _LOW) * (tokens - _FEWEST) / (_MOST - _FEWEST)


@dataclass(frozen=True)
class WindowNoise:
    """Noise levels in (0, 1) and noise, of the pictures (C, F, h, w) and of the sound (L, channels)."""

    sigma: float
    audio_sigma: float
    video: Tensor
    audio: Tensor


def draw_noise(
    draw: Draw, seed: int, video: torch.Size, audio: torch.Size, apart: bool = False
) -> WindowNoise:
    """A pure function of its arguments.

    A level is the logistic function of a normal number around :func:`sigma_centre`.

    Args:
        draw: which sample of which step.
        seed: of the run.
        video, audio: shapes of the noise.
        apart: the sound has a level of its own; else that of the pictures.
    """
    generator = draw.generator(seed, _PURPOSE)
    centre = sigma_centre(math.prod(video[1:]))
    logits = (centre + torch.randn(2, generator=generator, dtype=torch.float64)).tolist()
    levels = [1 / (1 + math.exp(-logit)) for logit in logits]
    return WindowNoise(
        levels[0],
        levels[1] if apart else levels[0],
        torch.randn(video, generator=generator),
        torch.randn(audio, generator=generator),
    )
