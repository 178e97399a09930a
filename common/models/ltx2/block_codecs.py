"""Autoencoders for small LTX-2 models that are trained from nothing: linear maps of blocks of a clip.

They stand in LTX-2's folder in the place of its convolutional autoencoders and of its vocoder, with the same
strides, layouts and calls, so that all else is the same. A latent is the projection of its own block onto
principal components: it knows nothing of its neighbours, and edges of blocks may be seen. What they lose is
the detail that ``latent_channels`` numbers per block cannot hold.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from torch import Tensor

from common.models.ltx2.settings import AUDIO_STRIDE, FRAME_STRIDE, PIXEL_STRIDE
from common.speech.joint_mel import BANDS, FFT, MEL_HOP, MEL_RATE, JointMelEncoder

_CERTAIN = -30.0
"""Log-variance of a posterior without noise."""


class _Components(ModelMixin, ConfigMixin):
    """Principal components of vectors: what both autoencoders store."""

    mean: Tensor
    basis: Tensor
    latents_mean: Tensor
    latents_std: Tensor

    def _make(self, vector: int, components: int) -> None:
        self.register_buffer("mean", torch.zeros(vector))
        self.register_buffer("basis", torch.zeros(components, vector))
        self.register_buffer("latents_mean", torch.zeros(components))
        self.register_buffer("latents_std", torch.ones(components))

    def project(self, vectors: Tensor) -> Tensor:
        """(..., vector) -> (..., components)."""
        return (vectors - self.mean) @ self.basis.T

    def restore(self, latents: Tensor) -> Tensor:
        """The nearest vectors."""
        return latents @ self.basis + self.mean


class BlockVideoAutoencoder(_Components):
    """Blocks of 8 frames of 32 x 32 pixels to ``latent_channels`` numbers; frame 0 is a block by itself.

    Of a block's cosine transform the ``kept`` lowest frequencies (time, rows, columns) are projected onto
    principal components. Frame 0 is repeated to fill its block.
    """

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 128,
        kept: tuple[int, int, int] = (6, 14, 14),
        scaling_factor: float = 1.0,
        timestep_conditioning: bool = False,
    ) -> None:
        super().__init__()
        self._make(3 * math.prod(kept), latent_channels)
        for axis, (size, count) in enumerate(
            zip((FRAME_STRIDE, PIXEL_STRIDE, PIXEL_STRIDE), kept, strict=True)
        ):
            self.register_buffer(f"cosines_{axis}", _cosines(size, count), persistent=False)

    def vectors(self, video: Tensor) -> Tensor:
        """(B, 3, 8k + 1, H, W) in [-1, 1] -> (B, F, h, w, vector)."""
        first = video[:, :, :1].expand(-1, -1, FRAME_STRIDE - 1, -1, -1)
        blocks = torch.cat((first, video), dim=2).unflatten(2, (-1, FRAME_STRIDE))
        blocks = blocks.unflatten(4, (-1, PIXEL_STRIDE)).unflatten(6, (-1, PIXEL_STRIDE))
        kept = torch.einsum("bcftyuxv,kt,lu,mv->bfyxcklm", blocks, *self._cosines())
        return kept.flatten(4)

    def encode(self, video: Tensor) -> AutoencoderKLOutput:
        """(B, 3, 8k + 1, H, W) -> a posterior of latents (B, C, k + 1, H / 32, W / 32)."""
        return _posterior(self.project(self.vectors(video)).movedim(4, 1))

    def decode(self, latents: Tensor) -> DecoderOutput:
        """The other way round."""
        kept = self.restore(latents.movedim(1, 4)).unflatten(4, (3, *self.config["kept"]))
        blocks = torch.einsum("bfyxcklm,kt,lu,mv->bcftyuxv", kept, *self._cosines())
        video = blocks.flatten(6, 7).flatten(4, 5)
        first, rest = video[:, :, :1].mean(dim=3), video[:, :, 1:].flatten(2, 3)
        return DecoderOutput(sample=torch.cat((first, rest), dim=2))

    def _cosines(self) -> list[Tensor]:
        return [getattr(self, f"cosines_{axis}") for axis in range(3)]


class BlockAudioAutoencoder(_Components):
    """Four frames of a stereo spectrogram to a latent of ``latent_channels`` x 16; the first is repeated."""

    @register_to_config
    def __init__(self, latent_channels: int = 4, mel_bins: int = BANDS) -> None:
        super().__init__()
        self._make(2 * AUDIO_STRIDE * mel_bins, latent_channels * mel_bins // AUDIO_STRIDE)

    def vectors(self, mel: Tensor) -> Tensor:
        """(B, 2, 4 (L - 1) + 1, bands) -> (B, L, vector)."""
        first = mel[:, :, :1].expand(-1, -1, AUDIO_STRIDE - 1, -1)
        return torch.cat((first, mel), dim=2).unflatten(2, (-1, AUDIO_STRIDE)).transpose(1, 2).flatten(2)

    def encode(self, mel: Tensor) -> AutoencoderKLOutput:
        """A posterior of latents (B, latent_channels, L, 16)."""
        tokens = self.project(self.vectors(mel))
        return _posterior(tokens.unflatten(2, (self.config["latent_channels"], -1)).transpose(1, 2))

    def decode(self, latents: Tensor) -> DecoderOutput:
        """The other way round."""
        blocks = self.restore(latents.transpose(1, 2).flatten(2))
        blocks = blocks.unflatten(2, (2, AUDIO_STRIDE, -1)).transpose(1, 2)
        first, rest = blocks[:, :, 0].mean(dim=2, keepdim=True), blocks[:, :, 1:].flatten(2, 3)
        return DecoderOutput(sample=torch.cat((first, rest), dim=2))


class PhaseVocoder(ModelMixin, ConfigMixin):
    """Spectrograms to sound at 16 kHz without weights: phases by Griffin and Lim (1984)."""

    @register_to_config
    def __init__(self, iterations: int = 32, output_sampling_rate: int = MEL_RATE * MEL_HOP) -> None:
        super().__init__()
        filters = torch.from_numpy(JointMelEncoder().filters)
        self.register_buffer("spread", torch.linalg.pinv(filters))

    def forward(self, mel: Tensor) -> Tensor:
        """(B, 2, T, bands), natural logarithms -> (B, 2, samples)."""
        strength = (mel.float().exp() @ self.spread.float()).clamp_min(0).flatten(0, 1).transpose(1, 2)
        window = torch.hann_window(FFT, device=mel.device)
        settings: dict[str, Any] = {"n_fft": FFT, "hop_length": MEL_HOP, "window": window}
        phases = torch.ones_like(strength, dtype=torch.complex64)
        for _ in range(self.config["iterations"]):
            sound = torch.istft(strength * phases, **settings)
            found = torch.stft(sound, return_complex=True, **settings)
            phases = found / found.abs().clamp_min(1e-8)
        return torch.istft(strength * phases, **settings).unflatten(0, mel.shape[:2])


def _posterior(latents: Tensor) -> AutoencoderKLOutput:
    certain = torch.full_like(latents, _CERTAIN)
    moments = torch.cat((latents, certain), dim=1)
    return AutoencoderKLOutput(latent_dist=DiagonalGaussianDistribution(moments))


def _cosines(size: int, count: int) -> Tensor:
    """(count, size): the lowest frequencies of the orthonormal cosine transform."""
    angles = math.pi / size * torch.outer(torch.arange(count), torch.arange(size) + 0.5)
    rows = torch.cos(angles) * math.sqrt(2 / size)
    rows[0] *= math.sqrt(0.5)
    return rows
