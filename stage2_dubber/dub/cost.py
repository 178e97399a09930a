"""What dubbing one window costs: operations and memory, by calculation from the geometry alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from torch.utils.flop_counter import FlopCounterMode

from common.autoencoder.codec import VideoCodec
from common.diffusion.branches import forward_bytes
from common.geometry import GeometryConfig, latents_to_frames
from common.models.transformer import DubbingTransformer
from common.training.flops import Shape, token_counts, training_cost

_SETTLED = 3
"""Latent frames after which all cost the same to encode and to decode."""


@dataclass(frozen=True)
class WindowCost:
    """One window.

    Attributes:
        frames: pixel frames that it holds.
        encode, decode: FLOP of the autoencoder, from pixels to latents and back.
        forward: FLOP of one call of the transformer; a sampler step makes one per guidance branch.
        transformer_bytes, autoencoder_bytes: of their weights.
        activation_bytes: upper estimate of what one call of the transformer holds beside its weights.
    """

    frames: int
    encode: float
    forward: float
    decode: float
    transformer_bytes: int
    autoencoder_bytes: int
    activation_bytes: int

    def flops(self, steps: int, branches: int) -> float:
        """Of the whole window, from pixels to pixels."""
        return self.encode + steps * branches * self.forward + self.decode


def window_cost(
    transformer: DubbingTransformer, codec: VideoCodec, geometry: GeometryConfig, extra_window: int
) -> WindowCost:
    """Count what the exact computation of a window does.

    Args:
        transformer, codec: of a model; without weights (PyTorch's "meta" device) will do.
        geometry: of its clips.
        extra_window: ``speech.extra_window``, speech features around each latent frame.
    """
    shape = window_shape(codec, geometry, extra_window)
    latents = (1, codec.channels, shape.frames, shape.height, shape.width)
    encode, decode = _autoencoder_flops(codec, geometry.crop_size, latents)
    model: Any = transformer.config
    return WindowCost(
        frames=latents_to_frames(shape.frames),
        encode=encode,
        forward=training_cost(model, shape).forward - unread_flops(model, shape),
        decode=decode,
        transformer_bytes=_weight_bytes(transformer),
        autoencoder_bytes=_weight_bytes(codec.vae),
        activation_bytes=forward_bytes(transformer, latents, shape.reference_frames),
    )


def window_shape(codec: VideoCodec, geometry: GeometryConfig, extra_window: int) -> Shape:
    """The latents of one window of one clip, with a reference of the same length."""
    side, frames = geometry.crop_size // codec.stride[1], geometry.latent_frames
    return Shape(1, frames, side, side, frames, 8 + 2 * extra_window)


def unread_flops(model: Any, shape: Shape) -> float:
    """What the last block would do for reference tokens that no head reads, and does not.

    Per token its query, scores and values over all tokens, output projection and FFN. ``model`` has the
    fields of ``ModelConfig``.
    """
    reference, target = token_counts(model, shape)
    dim, hidden = model.dim, model.ffn_dim
    per_token = 2 * 2 * dim**2 + 4 * (reference + target) * dim + 2 * 2 * dim * hidden
    return float(shape.batch * reference * per_token)


def _autoencoder_flops(codec: VideoCodec, side: int, latents: tuple[int, ...]) -> tuple[float, float]:
    """Operations of encoding and decoding a window; of a causal autoencoder those of three latent frames.

    From the third on, when its convolutions know the frames before, each takes what the last one took.
    """
    count = latents[2]
    if count <= _SETTLED or not isinstance(codec.vae, AutoencoderKLWan):
        return _counted(codec, side, latents)
    before, settled = (
        _counted(codec, side, (*latents[:2], n, *latents[3:])) for n in (_SETTLED - 1, _SETTLED)
    )
    encode, decode = (
        last + (count - _SETTLED) * (last - first) for first, last in zip(before, settled, strict=True)
    )
    return encode, decode


def _counted(codec: VideoCodec, side: int, latents: tuple[int, ...]) -> tuple[float, float]:
    video = torch.empty(1, 3, latents_to_frames(latents[2]), side, side, device="meta")
    with torch.no_grad():
        with FlopCounterMode(display=False) as encoding:
            codec.encode(video)
        with FlopCounterMode(display=False) as decoding:
            codec.decode(torch.empty(latents, device="meta"))
    return float(encoding.get_total_flops()), float(decoding.get_total_flops())


def _weight_bytes(module: torch.nn.Module) -> int:
    return sum(value.numel() * value.element_size() for value in module.parameters())
