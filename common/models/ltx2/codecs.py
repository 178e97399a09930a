"""LTX-2's autoencoders of pictures and sound, and its vocoder: to tokens and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.autoencoder.pixels import to_frames, to_video
from common.errors import UserError
from common.geometry import frames_to_latents
from common.models.ltx2.settings import AUDIO_STRIDE, FRAME_STRIDE, PIXEL_STRIDE


class JointVideoCodec:
    """Pictures (B, N, H, W, 3) uint8 <-> normalised latents (B, C, F, h, w) float32.

    The mode of the posterior. ``vae``: diffusers' AutoencoderKLLTX2Video, which gets frozen.

    Raises:
        UserError: the decoder wants a noise level, which those of LTX-2.0 and 2.3 do not.
    """

    stride = (FRAME_STRIDE, PIXEL_STRIDE, PIXEL_STRIDE)

    def __init__(self, vae: Any) -> None:
        self.vae = vae.eval().requires_grad_(False)
        if self.vae.config.timestep_conditioning:
            raise UserError(
                "The video autoencoder's decoder wants a noise level, which is not supported; use that of "
                "LTX-2.0 or 2.3."
            )

    @property
    def device(self) -> torch.device:
        return self.vae.device

    @torch.no_grad()
    def encode_frames(self, frames: np.ndarray) -> Tensor:
        """Raises UserError where N is not 8k + 1 or 32 does not divide a side."""
        _, length, height, width, _ = frames.shape
        frames_to_latents(length, FRAME_STRIDE)
        if height % PIXEL_STRIDE or width % PIXEL_STRIDE:
            raise UserError(
                f"A video of {width}x{height} pixels cannot be encoded; both sides must be multiples of "
                f"{PIXEL_STRIDE}."
            )
        video = to_video(frames).to(self.device, self.vae.dtype)
        latents = self.vae.encode(video).latent_dist.mode().float()
        mean, std = self._statistics()
        return (latents - mean) * self.vae.config.scaling_factor / std

    @torch.no_grad()
    def decode_frames(self, latents: Tensor) -> np.ndarray:
        """8 (F - 1) + 1 pictures."""
        mean, std = self._statistics()
        raw = latents.to(self.device, torch.float32) * std / self.vae.config.scaling_factor + mean
        return to_frames(self.vae.decode(raw.to(self.vae.dtype)).sample)

    def _statistics(self) -> tuple[Tensor, Tensor]:
        shape = (1, -1, 1, 1, 1)
        return self.vae.latents_mean.float().view(shape), self.vae.latents_std.float().view(shape)


class JointAudioCodec:
    """Spectrograms (B, 2, T, bands) of two channels <-> normalised tokens (B, L, channels), 25 per second.

    A token is all channels and bands of a latent. T = 4 (L - 1) + 1; the autoencoder is causal. ``vae``:
    diffusers' AutoencoderKLLTX2Audio, which gets frozen.
    """

    def __init__(self, vae: Any) -> None:
        self.vae = vae.eval().requires_grad_(False)

    @torch.no_grad()
    def encode(self, mel: Tensor) -> Tensor:
        """Raises UserError where the autoencoder takes other bands."""
        bands = self.vae.config.mel_bins
        if mel.shape[-1] != bands:
            raise UserError(
                f"The audio autoencoder takes {bands} mel bands, the spectrogram has {mel.shape[-1]}; use "
                "that of LTX-2.0 or 2.3."
            )
        latents = self.vae.encode(mel.to(self.vae.device, self.vae.dtype)).latent_dist.mode().float()
        tokens = latents.transpose(1, 2).flatten(2)
        return (tokens - self.vae.latents_mean.float()) / self.vae.latents_std.float()

    @torch.no_grad()
    def decode(self, tokens: Tensor) -> Tensor:
        """The spectrogram of tokens, float32."""
        raw = tokens.to(self.vae.device, torch.float32) * self.vae.latents_std.float()
        raw = raw + self.vae.latents_mean.float()
        latents = raw.unflatten(2, (self.vae.config.latent_channels, -1)).transpose(1, 2)
        return self.vae.decode(latents.to(self.vae.dtype)).sample.float()


class JointVocoder:
    """Spectrograms to sound. ``vocoder``: diffusers' LTX2Vocoder or LTX2VocoderWithBWE, which gets frozen."""

    def __init__(self, vocoder: Any) -> None:
        self.vocoder = vocoder.eval().requires_grad_(False)

    @property
    def rate(self) -> int:
        """Samples per second."""
        return int(self.vocoder.config.output_sampling_rate)

    @torch.no_grad()
    def __call__(self, mel: Tensor) -> Tensor:
        """(B, 2, T, bands) -> (B, 2, samples) float32."""
        return self.vocoder(mel.to(self.vocoder.device, self.vocoder.dtype)).float()


def mel_frames(tokens: int) -> int:
    """Frames of the spectrogram that ``tokens`` tokens cover."""
    return AUDIO_STRIDE * (tokens - 1) + 1
