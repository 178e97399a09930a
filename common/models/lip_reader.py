"""From sound to lips: a small network that says what shape a mouth takes when this is heard.

What it gives is what the dubbing transformer of a small model hears instead of spectra
(:class:`common.speech.lips.LipEncoder`): which sound belongs to which lips is learnt here from landmarks, at
a thousandth of the cost of a training step with pictures.
"""

from __future__ import annotations

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional

from common.face.mouth import LIP_SHAPE

_KERNEL = 5


class LipReader(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Recurrent layers that hear both ways in time: lips round for a vowel that is still to come.

    Args:
        bands: channels B of a feature.
        width: hidden channels of each direction.
        layers: recurrent layers.
        dropout: while training.

    Attributes:
        offset, gain: (K,) per shape value: what :meth:`calibrated` does to predictions.
    """

    @register_to_config
    def __init__(self, bands: int = 80, width: int = 128, layers: int = 2, dropout: float = 0.2) -> None:
        super().__init__()
        self.proj_in = nn.Conv1d(bands, width, _KERNEL, padding=_KERNEL // 2)
        self.drop = nn.Dropout(dropout)
        between = dropout if layers > 1 else 0.0
        self.rnn = nn.GRU(width, width, layers, batch_first=True, dropout=between, bidirectional=True)
        self.proj_out = nn.Linear(2 * width, len(LIP_SHAPE))
        self.register_buffer("offset", torch.zeros(len(LIP_SHAPE)))
        self.register_buffer("gain", torch.ones(len(LIP_SHAPE)))

    def forward(self, features: Tensor) -> Tensor:
        """(B, T, bands) -> (B, T, K): the likeliest shape, less lively than any mouth."""
        hidden = functional.gelu(self.proj_in(features.transpose(1, 2))).transpose(1, 2)
        hidden, _ = self.rnn(self.drop(hidden))
        return self.proj_out(self.drop(hidden))

    def calibrated(self, features: Tensor) -> Tensor:
        """(B, T, bands) -> (B, T, K) that moves as much as mouths do.

        A prediction that explains r^2 of a curve has r of its spread; mouths that follow it mumble.
        """
        return (self(features) - self.offset) * self.gain + self.offset
