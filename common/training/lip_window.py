"""Training on the part of the picture that lies around the lips, at its true place in the picture.

What speech decides is local, and tokens cost. Most steps may therefore see a window of tokens alone, with
the positions that they have in the whole picture; the other steps see all of it, as dubbing does (after Wang
et al. 2023, "Patch Diffusion", whose windows lie anywhere).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from common.config import TrainConfig
from common.models.rope import Place
from common.training.conditioning import FlowInputs
from common.training.draws import Draw

_SPATIAL = (
    "target_latents",
    "reference_latents",
    "lip_mask",
    "face_mask",
    "condition",
    "lower_face_mask",
)


def is_windowed(step: int, config: TrainConfig) -> bool:
    """Whether optimiser step ``step`` sees windows: the same in all processes, so that none waits."""
    if not config.lip_window:
        return False
    generator = Draw(0, step, 0).generator(config.seed, "lip window")
    return float(torch.rand(1, generator=generator)) < config.lip_window_share


def lip_window(
    inputs: FlowInputs, draws: Sequence[Draw], config: TrainConfig, patch: Sequence[int]
) -> FlowInputs:
    """The inputs, or what of them lies in the window around the lips of the micro-batch.

    Args:
        patch: size of a token in latent cells, (frames, rows, columns).
    """
    if not is_windowed(draws[0].step, config):
        return inputs
    place = window_place(inputs.batch.lip_mask, config.lip_window, patch)
    rows, columns = (
        slice(start * size, (start + count) * size)
        for start, count, size in zip((place.top, place.left), config.lip_window, patch[1:], strict=True)
    )

    def cut(values: Tensor) -> Tensor:
        return values[..., rows, columns]

    parts: dict[str, Any] = {
        name: cut(values) for name in _SPATIAL if (values := getattr(inputs.batch, name)) is not None
    }
    return replace(
        inputs,
        batch=replace(inputs.batch, **parts),
        noisy=cut(inputs.noisy),
        velocity=cut(inputs.velocity),
        place=place,
    )


def window_place(lip_mask: Tensor, size: Sequence[int], patch: Sequence[int]) -> Place:
    """Where ``size`` (rows, columns) tokens lie, within the picture, whose middle is that of the lips.

    Args:
        lip_mask: (B, F, h, w); without lips the middle is the picture's.
    """
    starts, whole = [], []
    for axis, count, side in zip((2, 3), size, patch[1:], strict=True):
        tokens = lip_mask.shape[axis] // side
        along = lip_mask.sum(dim=[d for d in range(4) if d != axis]).double()
        cells = torch.arange(len(along), dtype=torch.float64, device=along.device) + 0.5
        middle = float((along * cells).sum() / along.sum()) / side if along.any() else tokens / 2
        starts.append(min(max(round(middle - count / 2), 0), max(tokens - count, 0)))
        whole.append(tokens)
    return Place(starts[0], starts[1], whole[0], whole[1])
