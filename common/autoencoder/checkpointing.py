"""Decoding with gradients in bounded memory: each latent frame's activations are computed again.

What a decode of 17 frames at 512 px of the Wan2.2 autoencoder keeps for the backward pass, counted in
bfloat16 (float32: twice as much):

    plain           35 GiB per sample
    checkpointed     3 GiB per sample (what the causal convolutions carry from frame to frame),
                     and 8 GiB once, for the latent frame at hand
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan, unpatchify
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def decode_checkpointed(vae: Any, latents: Tensor) -> Tensor:
    """``vae.decode(latents).sample``, sample by sample; an AutoencoderKLWan's latent frame by frame, too.

    Args:
        latents: (B, C, F, h, w), not normalised.

    Returns:
        (B, 3, 4 (F - 1) + 1, H, W), clamped to [-1, 1]; the same values and gradients as the plain decode.
    """
    decode = _decode_one if isinstance(vae, AutoencoderKLWan) else _decode_whole
    return torch.cat([decode(vae, one) for one in latents.split(1)])


def _decode_whole(vae: Any, latents: Tensor) -> Tensor:
    """One sample at once: enough where hardly anything is as large as the picture."""
    return checkpoint(  # type: ignore[no-any-return]
        lambda x: vae.decode(x).sample, latents, use_reentrant=False, preserve_rng_state=False
    )


def _decode_one(vae: Any, latents: Tensor) -> Tensor:
    vae.clear_cache()
    carried = tuple(vae._feat_map)  # one empty place per causal convolution
    x = vae.post_quant_conv(latents)
    parts = []
    for frame in range(x.shape[2]):
        part, carried = checkpoint(
            _decode_frame,
            vae.decoder,
            x[:, :, frame : frame + 1],
            carried,
            frame == 0,
            use_reentrant=False,
            preserve_rng_state=False,
        )
        parts.append(part)
    video = torch.cat(parts, dim=2)
    if vae.config.patch_size is not None:
        video = unpatchify(video, patch_size=vae.config.patch_size)
    return video.clamp(-1.0, 1.0)


def _decode_frame(decoder: Any, x: Tensor, carried: tuple[Any, ...], first: bool) -> tuple[Tensor, Any]:
    """A pure function of its arguments, unlike the decoder, which writes into the cache that it is given."""
    cache = list(carried)
    part = decoder(x, feat_cache=cache, feat_idx=[0], first_chunk=first)
    return part, tuple(cache)
