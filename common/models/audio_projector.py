"""From speech features to the tokens that the audio cross-attention reads (R; docs/notation.md §2)."""

from __future__ import annotations

import torch
from diffusers.models.attention import Attention, FeedForward
from diffusers.models.embeddings import SinusoidalPositionalEmbedding
from torch import nn

# Length of the position table in the public checkpoint; a window has 8 features, stage 1 has 16.
MAX_WINDOW = 100


class AudioProjectorLayer(nn.Module):
    """Attention over one latent frame's feature window, then a gated feed-forward; both pre-norm residual."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.pos_embed = SinusoidalPositionalEmbedding(dim, max_seq_length=MAX_WINDOW)
        self.attn = Attention(dim, heads=heads, dim_head=dim // heads)
        self.norm2 = nn.LayerNorm(dim)
        self.ff = FeedForward(dim, activation_fn="geglu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.pos_embed(self.norm1(x)))
        return x + self.ff(self.norm2(x))


class AudioProjector(nn.Module):
    """Linear in, ``num_layers`` attention layers over each window, linear out.

    forward: (batch, latent frames, window, in_channels) -> (batch, latent frames, window, out_channels).
    Windows do not see each other.
    """

    def __init__(self, in_channels: int, dim: int, heads: int, num_layers: int, out_channels: int) -> None:
        super().__init__()
        self.proj_in = nn.Linear(in_channels, dim)
        self.layers = nn.ModuleList(AudioProjectorLayer(dim, heads) for _ in range(num_layers))
        self.proj_out = nn.Linear(dim, out_channels)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        x = self.proj_in(features.flatten(0, 1))
        for layer in self.layers:
            x = layer(x)
        return self.proj_out(x).unflatten(0, features.shape[:2])
