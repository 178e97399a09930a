"""From sound to lips: a small network that says what shape a mouth takes when this is heard.

What it gives is what the dubbing transformer of a small model hears instead of spectra
(:class:`common.speech.lips.LipEncoder`): which sound belongs to which lips is learnt here from landmarks, at
a thousandth of the cost of a training step with pictures.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional

from common.face.mouth import LIP_SHAPE

_KERNEL = 5


class LipReader(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Residual dilated convolutions over time.

    Args:
        bands: channels B of a feature.
        width: hidden channels.
        dilations: of the residual layers; with kernels of 5 they decide :attr:`reach`.
        dropout: while training.

    Attributes:
        offset, gain: (K,) per shape value: what :meth:`calibrated` does to predictions.
    """

    @register_to_config
    def __init__(
        self,
        bands: int = 80,
        width: int = 128,
        dilations: Sequence[int] = (1, 2, 4, 1),
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.proj_in = nn.Conv1d(bands, width, _KERNEL, padding=_KERNEL // 2)
        self.layers = nn.ModuleList(_Layer(width, dilation, dropout) for dilation in dilations)
        self.norm_out = nn.LayerNorm(width)
        self.proj_out = nn.Linear(width, len(LIP_SHAPE))
        self.register_buffer("offset", torch.zeros(len(LIP_SHAPE)))
        self.register_buffer("gain", torch.ones(len(LIP_SHAPE)))

    @property
    def reach(self) -> int:
        """Features on each side that an output depends on."""
        dilations: Sequence[int] = self.config.dilations  # type: ignore[attr-defined]
        return _KERNEL // 2 * (1 + sum(dilations))

    def forward(self, features: Tensor) -> Tensor:
        """(B, T, bands) -> (B, T, K): the likeliest shape, less lively than any mouth."""
        hidden = self.proj_in(features.transpose(1, 2))
        for layer in self.layers:
            hidden = layer(hidden)
        return self.proj_out(self.norm_out(hidden.transpose(1, 2)))

    def calibrated(self, features: Tensor) -> Tensor:
        """(B, T, bands) -> (B, T, K) that moves as much as mouths do.

        A prediction that explains r^2 of a curve has r of its spread; mouths that follow it mumble.
        """
        return (self(features) - self.offset) * self.gain + self.offset


class _Layer(nn.Module):
    """(B, C, T) -> (B, C, T)."""

    def __init__(self, width: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv1d(width, 2 * width, _KERNEL, padding=_KERNEL // 2 * dilation, dilation=dilation)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.norm(x.transpose(1, 2)).transpose(1, 2)
        return x + self.out(self.dropout(functional.glu(self.conv(hidden), dim=1)))
