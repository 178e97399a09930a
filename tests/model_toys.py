"""Small models that the tests of common/models and common/diffusion share."""

from typing import Any

import torch
from transformers import HubertConfig, HubertModel

from common.autoencoder.codec import VideoCodec, build_vae
from common.autoencoder.config import VaeConfig
from common.models.conditions import ModelConditions
from common.models.transformer import DubbingTransformer

LATENT_CHANNELS = 4
AUDIO_CHANNELS = 6


def tiny_transformer(seed: int = 0, **changes: Any) -> DubbingTransformer:
    """A transformer of 24 channels whose output is not zero, in evaluation mode."""
    torch.manual_seed(seed)
    arguments: dict[str, Any] = {
        "dim": 24,
        "num_heads": 2,
        "num_layers": 2,
        "ffn_dim": 40,
        "text_dim": 10,
        "freq_dim": 16,
        "latent_channels": LATENT_CHANNELS,
        "audio_channels": AUDIO_CHANNELS,
        "audio_dim": 16,
        "audio_heads": 2,
        "audio_layers": 1,
        "text_tokens": 0,
    }
    model = DubbingTransformer(**(arguments | changes))
    torch.nn.init.normal_(model.head.head.weight, std=0.3)
    return model.eval()


def tiny_inputs(
    batch: int = 2, frames: int = 3, size: tuple[int, int] = (4, 6), reference_frames: int = 3, seed: int = 1
) -> dict[str, torch.Tensor]:
    """Latents, timestep, and conditions without text and masked video, each by name: see :func:`called`."""
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    return {
        "latents": randn(batch, LATENT_CHANNELS, frames, *size),
        "timestep": torch.linspace(250, 900, batch),
        "reference": randn(batch, LATENT_CHANNELS, reference_frames, *size),
        "audio_features": randn(batch, frames, 8, AUDIO_CHANNELS),
    }


def called(inputs: dict[str, Any], motion_frames: int = 0, **changes: Any) -> dict[str, Any]:
    """Arguments of DubbingTransformer.forward from :func:`tiny_inputs`, with changed conditions.

    ``motion_frames``: so many leading frames are given clean.
    """
    given = inputs | changes
    latents, timestep = given.pop("latents"), given.pop("timestep")
    motion_frames = given.pop("motion_frames", motion_frames)
    if motion_frames:
        given["motion"] = latents.new_zeros(*latents.shape[:2], motion_frames, *latents.shape[3:])
    return {"latents": latents, "timestep": timestep, "conditions": ModelConditions(**given)}


def tiny_vae_config(**changes: Any) -> VaeConfig:
    """Eight-fold in space, of the 2.1 kind with a patch of 2."""
    arguments: dict[str, Any] = {
        "base_dim": 4,
        "decoder_base_dim": 4,
        "z_dim": LATENT_CHANNELS,
        "dim_mult": [1, 2, 2],
        "num_res_blocks": 1,
        "temperal_downsample": [True, True],
        "is_residual": False,
        "scale_factor_spatial": 8,
    }
    return VaeConfig(**(arguments | changes))


def tiny_codec(seed: int = 0, **changes: Any) -> VideoCodec:
    torch.manual_seed(seed)
    return VideoCodec(build_vae(tiny_vae_config(**changes)))


def tiny_hubert(hidden_size: int = 16, intermediate_size: int = 16) -> HubertModel:
    """Of the layout of hubert-large-ll60k: 12 layers."""
    torch.manual_seed(0)
    config = HubertConfig(
        hidden_size=hidden_size,
        num_hidden_layers=12,
        num_attention_heads=2,
        intermediate_size=intermediate_size,
        conv_dim=(8,) * 7,
        conv_bias=True,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
    )
    return HubertModel(config).eval()
