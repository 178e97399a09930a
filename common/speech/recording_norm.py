"""Normalisation with the statistics of the whole recording, in a network that gets it in windows.

The first layer of wav2vec2-base normalises every channel over all that it is given. With each window's own
statistics the same sound would have other features in another window.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Wav2Vec2Model

_BLOCK = 1 << 16  # outputs of the first layer at once: bounds the memory of long recordings


class RecordingNorm(nn.Module):
    """A group norm of one channel per group, with statistics of its input or of a whole recording."""

    def __init__(self, convolution: nn.Conv1d, norm: nn.GroupNorm) -> None:
        super().__init__()
        # In a list: the layer that holds this module owns the convolution.
        self._before = [convolution]
        self.norm = norm
        self._statistics: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) -> (B, C, T)."""
        if self._statistics is None:
            return self.norm(x)
        mean, variance = self._statistics
        return F.batch_norm(x, mean, variance, self.norm.weight, self.norm.bias, eps=self.norm.eps)

    @contextmanager
    def over(self, sound: Tensor) -> Iterator[None]:
        """Within, windows are normalised as if the whole of ``sound`` (samples,) were encoded at once."""
        self._statistics = self._measure(sound)
        try:
            yield
        finally:
            self._statistics = None

    @torch.inference_mode()
    def _measure(self, sound: Tensor) -> tuple[Tensor, Tensor]:
        convolution = self._before[0]
        kernel, stride = convolution.kernel_size[0], convolution.stride[0]
        total = (len(sound) - kernel) // stride + 1
        sums = torch.zeros(2, convolution.out_channels, dtype=torch.float64, device=sound.device)
        for first in range(0, total, _BLOCK):
            end = min(first + _BLOCK, total)
            piece = sound[first * stride : (end - 1) * stride + kernel]
            outputs = convolution(piece[None, None])[0].double()
            sums += torch.stack([outputs.sum(dim=1), outputs.square().sum(dim=1)])
        mean, square = sums / total
        return mean.float(), (square - mean.square()).clamp_min(0).float()


def share_norm(model: Wav2Vec2Model) -> RecordingNorm | None:
    """Put a :class:`RecordingNorm` into ``model``; None where nothing is normalised over time."""
    first: Any = model.feature_extractor.conv_layers[0]
    norm = getattr(first, "layer_norm", None)
    if not isinstance(norm, nn.GroupNorm):
        return None
    if norm.num_groups != norm.num_channels:
        raise ValueError("the first layer normalises groups of several channels")
    shared = RecordingNorm(first.conv, norm)
    first.layer_norm = shared
    return shared
