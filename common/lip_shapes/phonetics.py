"""Phonetic encoders: log-mel features to features that tell sounds apart, in whatever voice.

Two kinds of network, plain modules for the reason that :mod:`common.lip_shapes.network` gives. They are
trained and written by :mod:`common.phonetics.model`, whose classes have the same tensors by the same names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from common.phonetics.kinds import CONVOLUTIONS, KINDS, TRANSFORMER

DILATIONS = (1, 1, 2, 2, 4, 4, 1)
"""Of the blocks of convolutions."""

_KERNEL = 5
_ROTARY_BASE = 10_000.0
_LONGEST = 400
"""Features that a transformer attends over at once; longer stretches are read in windows of these."""
_WINDOW, _CONTEXT = 300, 60


class PhoneticNetwork(nn.Module):
    """What a lip-shape predictor needs of a phonetic encoder.

    Attributes:
        settings: the arguments of :func:`phonetic_network` that make one like this.
        offset, scale: (K,) what brings each channel to mean 0 and deviation 1 on the speech of its training.
    """

    offset: Tensor
    scale: Tensor

    def __init__(self, channels: int, settings: dict[str, Any]) -> None:
        super().__init__()
        self.channels = channels
        self.settings = settings
        self.register_buffer("offset", torch.zeros(channels))
        self.register_buffer("scale", torch.ones(channels))

    def forward(self, features: Tensor) -> Tensor:
        """(B, T, bands) -> (B, T, K)."""
        raise NotImplementedError

    def normalized(self, features: Tensor) -> Tensor:
        """As :meth:`forward`, each channel of about mean 0 and deviation 1."""
        return (self(features) - self.offset) * self.scale


def phonetic_network(kind: str = CONVOLUTIONS, **settings: Any) -> PhoneticNetwork:
    """The network of these settings; packages from before there were kinds name none.

    Raises:
        ValueError: there is no such kind.
        TypeError: it takes no such settings.
    """
    if kind == CONVOLUTIONS:
        return PhoneticConvolutions(**settings)
    if kind == TRANSFORMER:
        return PhoneticTransformer(**settings)
    raise ValueError(f"no kind of phonetic encoder '{kind}'; known are {', '.join(KINDS)}")


class PhoneticConvolutions(PhoneticNetwork):
    """Residual dilated convolutions that see 33 features (.7 s) to each side.

    Args:
        bands: channels of an input feature.
        width: hidden channels.
        channels: K that it puts out.
        dilations: one residual block each.
        dropout: while training.
    """

    def __init__(
        self,
        bands: int = 80,
        width: int = 256,
        channels: int = 96,
        dilations: Sequence[int] = DILATIONS,
        dropout: float = 0.2,
    ) -> None:
        settings = {
            "bands": bands,
            "width": width,
            "channels": channels,
            "dilations": dilations,
            "dropout": dropout,
        }
        super().__init__(channels, settings)
        self.proj_in = nn.Conv1d(bands, width, _KERNEL, padding=_KERNEL // 2)
        self.blocks = nn.ModuleList(_ConvolutionBlock(width, dilation, dropout) for dilation in dilations)
        self.proj_out = nn.Conv1d(width, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        hidden = functional.gelu(self.proj_in(features.transpose(1, 2)))
        for block in self.blocks:
            hidden = block(hidden)
        return self.proj_out(functional.gelu(hidden)).transpose(1, 2)


class _ConvolutionBlock(nn.Module):
    def __init__(self, width: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv1d(width, width, _KERNEL, padding=_KERNEL // 2 * dilation, dilation=dilation)
        self.drop = nn.Dropout(dropout)
        self.proj = nn.Conv1d(width, width, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        normed = self.norm(hidden.transpose(1, 2)).transpose(1, 2)
        return hidden + self.proj(self.drop(functional.gelu(self.conv(normed))))


class PhoneticTransformer(PhoneticNetwork):
    """Two convolutions, then transformer blocks with rotary positions (Su et al., 2021).

    Sees all of a stretch of up to 8 s. Longer ones are read in windows of 6 s, whose outer 1.2 s are only
    heard. A window is moved to lie within the stretch, so that none is short.

    Args:
        bands: channels of an input feature.
        width: hidden channels.
        channels: K that it puts out.
        depth: blocks of attention and a feed-forward layer of four times the width.
        heads: of attention.
    """

    def __init__(
        self, bands: int = 80, width: int = 384, channels: int = 384, depth: int = 2, heads: int = 6
    ) -> None:
        settings = {
            "kind": TRANSFORMER,
            "bands": bands,
            "width": width,
            "channels": channels,
            "depth": depth,
            "heads": heads,
        }
        super().__init__(channels, settings)
        self.heads = heads
        self.proj_in = nn.Conv1d(bands, width, _KERNEL, padding=_KERNEL // 2)
        self.conv = nn.Conv1d(width, width, 3, padding=1)
        self.blocks = nn.ModuleList(_TransformerBlock(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.proj_out = nn.Linear(width, channels)

    def forward(self, features: Tensor) -> Tensor:
        count = features.shape[1]
        if count <= _LONGEST:
            return self._read(features)
        step = _WINDOW - 2 * _CONTEXT
        made = []
        for start in range(0, count, step):
            stop = min(start + step, count)
            first = max(0, min(start - _CONTEXT, count - _WINDOW))
            window = self._read(features[:, first : first + _WINDOW])
            made.append(window[:, start - first : stop - first])
        return torch.cat(made, dim=1)

    def _read(self, features: Tensor) -> Tensor:
        hidden = functional.gelu(self.proj_in(features.transpose(1, 2)))
        hidden = functional.gelu(self.conv(hidden)).transpose(1, 2)
        turns = _turns(hidden, self.heads)
        for block in self.blocks:
            hidden = block(hidden, turns)
        return self.proj_out(self.norm(hidden))


class _TransformerBlock(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention = nn.LayerNorm(width)
        self.to_qkv = nn.Linear(width, 3 * width)
        self.to_out = nn.Linear(width, width)
        self.norm_feed_forward = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, hidden: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
        qkv = self.to_qkv(self.norm_attention(hidden)).unflatten(2, (3, self.heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        heads = functional.scaled_dot_product_attention(_turned(query, turns), _turned(key, turns), value)
        hidden = hidden + self.to_out(heads.transpose(1, 2).flatten(2))
        return hidden + self.feed_forward(self.norm_feed_forward(hidden))


def _turns(hidden: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines (T, C / 2) of rotary positions, for heads of C channels of (B, T, width)."""
    half = hidden.shape[2] // heads // 2
    rates = _ROTARY_BASE ** (-torch.arange(half, device=hidden.device) / half)
    angles = torch.arange(hidden.shape[1], device=hidden.device)[:, None] * rates
    return angles.cos().to(hidden), angles.sin().to(hidden)


def _turned(vectors: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
    """(B, heads, T, C), halves of the channels turned against each other by angles that grow with time."""
    cosines, sines = turns
    first, second = vectors.chunk(2, dim=3)
    return torch.cat([first * cosines - second * sines, first * sines + second * cosines], dim=3)
