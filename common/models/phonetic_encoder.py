"""A small network that hears what a large speech encoder hears, as far as it can be told from log-mel bands.

Which sounds are the same sound in other voices and rooms, an hour of speech does not teach. Whisper and its
like know; this network is trained to predict their features (`stage1_generator.train_phonetics`) and then
stands in their place, without them and at a fraction of their size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional

_KERNEL = 5
DILATIONS = (1, 1, 2, 2, 4, 4, 1)


class PhoneticEncoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Residual dilated convolutions that see 33 features (.7 s) to each side.

    Args:
        bands: channels of a feature that it hears.
        width: hidden channels.
        channels: K that it puts out.
        dilations: one residual block each.
        dropout: while training.

    Attributes:
        offset, scale: (K,) what brings each channel to mean 0 and deviation 1 on the speech of its training.
    """

    @register_to_config
    def __init__(
        self,
        bands: int = 80,
        width: int = 256,
        channels: int = 96,
        dilations: Sequence[int] = DILATIONS,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.proj_in = nn.Conv1d(bands, width, _KERNEL, padding=_KERNEL // 2)
        self.blocks = nn.ModuleList(_Block(width, dilation, dropout) for dilation in dilations)
        self.proj_out = nn.Conv1d(width, channels, 1)
        self.register_buffer("offset", torch.zeros(channels))
        self.register_buffer("scale", torch.ones(channels))

    @property
    def channels(self) -> int:
        return self.proj_out.out_channels

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments that make one like this."""
        return {name: value for name, value in self.config.items() if not name.startswith("_")}

    def forward(self, features: Tensor) -> Tensor:
        """(B, T, bands) -> (B, T, K)."""
        hidden = functional.gelu(self.proj_in(features.transpose(1, 2)))
        for block in self.blocks:
            hidden = block(hidden)
        return self.proj_out(functional.gelu(hidden)).transpose(1, 2)

    def normalized(self, features: Tensor) -> Tensor:
        """As :meth:`forward`, each channel of about mean 0 and deviation 1."""
        return (self(features) - self.offset) * self.scale


class _Block(nn.Module):
    def __init__(self, width: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv1d(width, width, _KERNEL, padding=_KERNEL // 2 * dilation, dilation=dilation)
        self.drop = nn.Dropout(dropout)
        self.proj = nn.Conv1d(width, width, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        normed = self.norm(hidden.transpose(1, 2)).transpose(1, 2)
        return hidden + self.proj(self.drop(functional.gelu(self.conv(normed))))
