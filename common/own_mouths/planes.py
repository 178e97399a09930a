"""What a model is told of frames that own mouths have drawn, beside the frames: extra channels of its target.

Lips can close for a single frame, and a latent frame holds four: it is told the lip shapes of all four, not
their mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.face.mouth import LIP_SHAPE
from common.geometry import TEMPORAL_STRIDE
from common.own_mouths.reliability import SURE

if TYPE_CHECKING:
    import torch

CONDITION_CHANNELS = 1 + TEMPORAL_STRIDE * len(LIP_SHAPE)
"""So many channels: one of reliability, and the lip shapes of the pixel frames of a latent frame."""


def condition_planes(reliability: torch.Tensor, lip_shapes: torch.Tensor) -> torch.Tensor:
    """(B, CONDITION_CHANNELS, F, h, w): reliability from 0 to 1, then lip shapes, the same in all cells.

    The first latent frame, which holds one pixel frame, is told its shape four times.

    Args:
        reliability: (B, F, h, w) in 255ths (:func:`common.own_mouths.reliability.pooled_levels`).
        lip_shapes: (B, N, 7) that the N = 4 (F - 1) + 1 frames were drawn with
            (:meth:`common.own_mouths.place.FramePlacer.lip_shape`).
    """
    import torch  # a second to import; checks of configurations do without

    frames, height, width = reliability.shape[1:]
    first = lip_shapes[:, :1].expand(-1, TEMPORAL_STRIDE - 1, -1)
    told = torch.cat((first, lip_shapes), dim=1).unflatten(1, (frames, TEMPORAL_STRIDE)).flatten(2)
    shapes = told.transpose(1, 2)[..., None, None].expand(-1, -1, -1, height, width)
    return torch.cat((reliability[:, None] / SURE, shapes.to(reliability.dtype)), dim=1)
