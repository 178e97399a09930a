"""A causal video autoencoder of blocks of pixels, for machines without a GPU.

4x8x8 pixels become one latent: a linear map (the principal components of the training data when it is fresh)
plus what a few convolutions on the *latent* grid add to it. Nothing but one thin layer works at pixel size,
where AutoencoderKLWan spends nearly all of its time: at 128 px it is some ten times faster here.

Shapes, strides and the meaning of the first frame are those of AutoencoderKLWan, so that the codec and all
that stands on it cannot tell them apart: frames 1 + 4k, the first latent is the first frame, each later one
four.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.models.modeling_utils import ModelMixin
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

# A fresh posterior of unit variance would drown the codes in noise.
INITIAL_LOGVAR = -6.0
REFINE_PATCH = 2  # the thin last layer sees pixels folded by two


class PatchAutoencoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Videos (B, 3, 1 + 4k, H, W) in [-1, 1] <-> latents (B, z_dim, 1 + k, H / s, W / s).

    Args:
        z_dim: numbers per latent position.
        width: channels on the latent grid.
        encoder_layers, decoder_layers: residual blocks there.
        refine_width: channels of the last layer, at half the pixel size; 0 leaves it out.
        scale_factor_spatial, scale_factor_temporal: pixels and frames of a block.
        latents_mean, latents_std: (z_dim,) statistics by which the codec normalises.
    """

    @register_to_config
    def __init__(
        self,
        z_dim: int = 48,
        width: int = 192,
        encoder_layers: int = 3,
        decoder_layers: int = 4,
        refine_width: int = 32,
        scale_factor_spatial: int = 8,
        scale_factor_temporal: int = 4,
        latents_mean: list[float] | None = None,
        latents_std: list[float] | None = None,
    ) -> None:
        super().__init__()
        self.z_dim = z_dim
        self.block = (scale_factor_temporal, scale_factor_spatial, scale_factor_spatial)
        pixels = 3 * scale_factor_temporal * scale_factor_spatial**2
        self.encode_linear = nn.Conv3d(pixels, z_dim, 1)
        self.encode_in = nn.Conv3d(pixels, width, 1)
        self.encode_blocks = nn.ModuleList(_Block(width) for _ in range(encoder_layers))
        self.encode_out = _zeroed(nn.Conv3d(width, 2 * z_dim, 1))
        self.decode_linear = nn.Conv3d(z_dim, pixels, 1)
        self.decode_in = nn.Conv3d(z_dim, width, 1)
        self.decode_blocks = nn.ModuleList(_Block(width) for _ in range(decoder_layers))
        self.decode_out = _zeroed(nn.Conv3d(width, pixels, 1))
        self.refine = _Refine(refine_width) if refine_width else None
        assert self.encode_out.bias is not None
        with torch.no_grad():
            self.encode_out.bias[z_dim:] = INITIAL_LOGVAR

    def encode(self, video: Tensor) -> AutoencoderKLOutput:
        """Posterior of a video."""
        blocks = self._fold(video)
        hidden = self.encode_in(blocks)
        for block in self.encode_blocks:
            hidden = block(hidden)
        mean, logvar = self.encode_out(hidden).chunk(2, dim=1)
        moments = torch.cat([mean + self.encode_linear(blocks), logvar], dim=1)
        return AutoencoderKLOutput(latent_dist=DiagonalGaussianDistribution(moments))

    def decode(self, latents: Tensor) -> DecoderOutput:
        """Video of latents, clamped to [-1, 1]."""
        return DecoderOutput(sample=self.decode_unclamped(latents).clamp(-1.0, 1.0))

    def decode_unclamped(self, latents: Tensor) -> Tensor:
        """As :meth:`decode`, before the clamp that hides gradients from a loss."""
        hidden = self.decode_in(latents)
        for block in self.decode_blocks:
            hidden = block(hidden)
        video = self._unfold(self.decode_linear(latents) + self.decode_out(hidden))
        return video if self.refine is None else video + self.refine(video)

    @torch.no_grad()
    def fit_linear(self, videos: list[Tensor]) -> float:
        """Set the linear maps to the principal components of training videos (3, N, H, W); the rest stays.

        Returns:
            the share of the variance that they hold.
        """
        count, total, squares = 0, torch.zeros(1), torch.zeros(1)
        for video in videos:
            rows = self._fold(video[None])[0].flatten(1).T.double()
            count, total, squares = count + len(rows), total + rows.sum(0), squares + rows.T @ rows
        mean = total / count
        variances, directions = torch.linalg.eigh(squares / count - torch.outer(mean, mean))
        basis = directions.flip(1)[:, : self.z_dim].T  # (z_dim, pixels), largest first
        device = self.encode_linear.weight.device
        self.encode_linear.weight.copy_(basis[..., None, None, None].to(device))
        self.encode_linear.bias.copy_((-basis @ mean).to(device))  # type: ignore[union-attr]
        self.decode_linear.weight.copy_(basis.T[..., None, None, None].to(device))
        self.decode_linear.bias.copy_(mean.to(device))  # type: ignore[union-attr]
        return float(variances.flip(0)[: self.z_dim].sum() / variances.sum())

    def _fold(self, video: Tensor) -> Tensor:
        t, y, x = self.block
        # The first frame fills a whole block, as if it had stood still before: causal, and nothing special.
        held = video[:, :, :1].expand(-1, -1, t - 1, -1, -1)
        pattern = "b c (f t) (h y) (w x) -> b (c t y x) f h w"
        return rearrange(torch.cat([held, video], dim=2), pattern, t=t, y=y, x=x)

    def _unfold(self, blocks: Tensor) -> Tensor:
        t, y, x = self.block
        pattern = "b (c t y x) f h w -> b c (f t) (h y) (w x)"
        return rearrange(blocks, pattern, t=t, y=y, x=x)[:, :, t - 1 :]


class _Block(nn.Module):
    """Residual: 3x3 in space, then three latents in time of which none lies ahead."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))
        self.space = nn.Conv3d(width, width, (1, 3, 3), padding=(0, 1, 1))
        self.time = _zeroed(nn.Conv3d(width, width, (3, 1, 1)))

    def forward(self, values: Tensor) -> Tensor:
        # Over channels alone: statistics over space or time would tie a pixel to the size of the picture.
        hidden = functional.rms_norm(values.movedim(1, -1), (values.shape[1],), self.scale).movedim(-1, 1)
        hidden = functional.silu(self.space(hidden))
        past = hidden[:, :, :1].expand(-1, -1, 2, -1, -1)
        return values + self.time(torch.cat([past, hidden], dim=2))


class _Refine(nn.Module):
    """Takes the borders of the blocks away: a few convolutions in each frame."""

    def __init__(self, width: int) -> None:
        super().__init__()
        folded = 3 * REFINE_PATCH**2
        self.layers = nn.Sequential(
            nn.Conv2d(folded, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.SiLU(),
            _zeroed(nn.Conv2d(width, folded, 3, padding=1)),
        )

    def forward(self, video: Tensor) -> Tensor:
        frames = rearrange(video, "b c n h w -> (b n) c h w")
        change = functional.pixel_shuffle(
            self.layers(functional.pixel_unshuffle(frames, REFINE_PATCH)), REFINE_PATCH
        )
        return rearrange(change, "(b n) c h w -> b c n h w", b=len(video))


def _zeroed(layer: Any) -> Any:
    """A layer that adds nothing at first."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
