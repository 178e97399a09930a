"""Training on the part of the picture that lies around the lips, at its true place in the picture.

What speech decides is local, and tokens cost. Most steps may therefore see a window of tokens alone, with
the positions that they have in the whole picture; the other steps see all of it, as dubbing does (after Wang
et al. 2023, "Patch Diffusion", whose windows lie anywhere).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from common.data.batch import DubBatch
from common.models.conditions import GridOffset, ModelConditions
from common.training.conditioning import FlowInputs
from common.training.config import FlowTrainConfig
from common.training.draws import Draw, is_chosen

_SPATIAL_OF_BATCH = (
    "target_latents",
    "reference_latents",
    "lip_mask",
    "face_mask",
    "masked_latents",
    "lower_face_mask",
    "reliability",
)
_SPATIAL_OF_CONDITIONS = ("reference", "condition_planes", "motion")


def is_windowed(step: int, config: FlowTrainConfig) -> bool:
    """Whether optimiser step ``step`` sees windows."""
    return bool(config.lip_window) and is_chosen(step, config.lip_window_share, config.seed, "lip window")


@dataclass(frozen=True)
class LipWindow:
    """A part of the picture: whole tokens around the lips of a micro-batch."""

    offset: GridOffset
    rows: slice
    columns: slice

    def cut(self, values: Tensor) -> Tensor:
        """(..., h, w) of the whole picture -> what lies in the window."""
        return values[..., self.rows, self.columns]

    def of(self, batch: DubBatch) -> DubBatch:
        """The batch with all that has rows and columns cut."""
        return replace(batch, **self._cut_fields(batch, _SPATIAL_OF_BATCH))

    def of_conditions(self, conditions: ModelConditions) -> ModelConditions:
        """The conditions with all that has rows and columns cut, and where that lies."""
        parts = self._cut_fields(conditions, _SPATIAL_OF_CONDITIONS)
        return replace(conditions, **parts, offset=self.offset)

    def _cut_fields(self, values: Any, names: Sequence[str]) -> dict[str, Any]:
        return {name: self.cut(value) for name in names if (value := getattr(values, name)) is not None}


def draw_lip_window(
    batch: DubBatch, draws: Sequence[Draw], config: FlowTrainConfig, patch: Sequence[int]
) -> LipWindow | None:
    """The window of this micro-batch; None: it sees the whole picture.

    Args:
        patch: size of a token in latent cells, (frames, rows, columns).
    """
    if not is_windowed(draws[0].step, config):
        return None
    offset = window_offset(batch.lip_mask, config.lip_window, patch)
    rows, columns = (
        slice(start * size, (start + count) * size)
        for start, count, size in zip((offset.top, offset.left), config.lip_window, patch[1:], strict=True)
    )
    return LipWindow(offset, rows, columns)


def lip_window(
    inputs: FlowInputs, draws: Sequence[Draw], config: FlowTrainConfig, patch: Sequence[int]
) -> FlowInputs:
    """The inputs, or what of them lies in the window around the lips. ``patch``: as above."""
    window = draw_lip_window(inputs.batch, draws, config, patch)
    if window is None:
        return inputs
    return replace(
        inputs,
        batch=window.of(inputs.batch),
        conditions=window.of_conditions(inputs.conditions),
        noisy=window.cut(inputs.noisy),
        velocity=window.cut(inputs.velocity),
    )


def window_offset(lip_mask: Tensor, size: Sequence[int], patch: Sequence[int]) -> GridOffset:
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
    return GridOffset(starts[0], starts[1], whole[0], whole[1])
