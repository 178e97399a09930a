"""From the original key format of the Wan2.2 autoencoder (R: Wan2.2_VAE.safetensors) to AutoencoderKLWan."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isqrt
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

from common.errors import UserError

State = Mapping[str, torch.Tensor]

# A residual block is a sequence in the original: norm, SiLU, convolution, norm, SiLU, dropout, convolution.
_RESIDUAL = {"0": "norm1", "2": "conv1", "3": "norm2", "6": "conv2"}
# Stages are nested as downsamples.<stage>.downsamples.<block>; a stage may end in one resampling block.
_RULES = (
    (r"conv1\.(\w+)", r"quant_conv.\1"),
    (r"conv2\.(\w+)", r"post_quant_conv.\1"),
    (r"(\w+coder)\.conv1\.(\w+)", r"\1.conv_in.\2"),
    (r"(\w+coder)\.head\.0\.(\w+)", r"\1.norm_out.\2"),
    (r"(\w+coder)\.head\.2\.(\w+)", r"\1.conv_out.\2"),
    (r"(\w+coder)\.middle\.0\.(.+)", r"\1.mid_block.resnets.0.\2"),
    (r"(\w+coder)\.middle\.1\.(.+)", r"\1.mid_block.attentions.0.\2"),
    (r"(\w+coder)\.middle\.2\.(.+)", r"\1.mid_block.resnets.1.\2"),
    (
        r"encoder\.downsamples\.(\d+)\.downsamples\.\d+\.((?:resample|time_conv).+)",
        r"encoder.down_blocks.\1.downsampler.\2",
    ),
    (
        r"decoder\.upsamples\.(\d+)\.upsamples\.\d+\.((?:resample|time_conv).+)",
        r"decoder.up_blocks.\1.upsampler.\2",
    ),
    (r"encoder\.downsamples\.(\d+)\.downsamples\.(\d+)\.(.+)", r"encoder.down_blocks.\1.resnets.\2.\3"),
    (r"decoder\.upsamples\.(\d+)\.upsamples\.(\d+)\.(.+)", r"decoder.up_blocks.\1.resnets.\2.\3"),
)


def from_original_vae(
    state: State, latents_mean: torch.Tensor, latents_std: torch.Tensor, source: str = "The autoencoder"
) -> AutoencoderKLWan:
    """An autoencoder with the weights of ``state`` (original names), its geometry read off the tensors.

    ``latents_mean`` and ``latents_std`` are (z_dim,); the original keeps them in code, not in the file.
    Raises UserError that names the first tensor that is missing, foreign or misshapen.
    """
    config = infer_vae_config(state, source)
    vae = AutoencoderKLWan(**config, latents_mean=latents_mean.tolist(), latents_std=latents_std.tolist())
    originals = {to_diffusers_name(name): name for name in state}
    expected = vae.state_dict()
    for name in sorted(expected.keys() | originals.keys()):
        if name not in originals:
            raise UserError(f"{source} lacks the tensor that diffusers calls {name}; it is incomplete.")
        original = originals[name]
        if name not in expected:
            raise UserError(f"{source} holds the foreign tensor {original}; it is no Wan2.2 autoencoder.")
        if state[original].shape != expected[name].shape:
            raise UserError(
                f"{source}: the tensor {original} is {tuple(state[original].shape)}, expected "
                f"{tuple(expected[name].shape)}; the file contradicts its own geometry."
            )
    vae.load_state_dict({name: state[original] for name, original in originals.items()})
    return vae


def infer_vae_config(state: State, source: str = "The autoencoder") -> dict[str, Any]:
    """Constructor arguments of AutoencoderKLWan (without the latent statistics) that fit ``state``."""

    def shape(name: str) -> torch.Size:
        if name not in state:
            raise UserError(f"{source} lacks the tensor {name}; it is no Wan2.2 autoencoder.")
        return state[name].shape

    stage = "encoder.downsamples.{0}.downsamples.{1}"
    base, in_channels = shape("encoder.conv1.weight")[:2]
    stages = _count(state, r"encoder\.downsamples\.(\d+)\.")
    widths = [shape(f"{stage.format(i, 0)}.residual.6.weight")[0] for i in range(stages)]
    blocks = _count(state, r"encoder\.downsamples\.0\.downsamples\.(\d+)\.residual\.")
    patch = isqrt(in_channels // 3)
    return {
        "base_dim": base,
        "decoder_base_dim": shape("decoder.head.2.weight")[1] * base // widths[0],
        "z_dim": shape("conv2.weight")[0],
        "dim_mult": [width // base for width in widths],
        "num_res_blocks": blocks,
        "temperal_downsample": [
            f"{stage.format(i, blocks)}.time_conv.weight" in state for i in range(stages - 1)
        ],
        "is_residual": True,
        "in_channels": in_channels,
        "out_channels": shape("decoder.head.2.weight")[0],
        "patch_size": patch,
        "scale_factor_spatial": patch * 2 ** (stages - 1),
        "scale_factor_temporal": 4,
    }


def to_diffusers_name(name: str) -> str:
    """The name that diffusers gives to a tensor of the original; unknown names come back unchanged."""
    for pattern, replacement in _RULES:
        if re.fullmatch(pattern, name):
            name = re.sub(pattern, replacement, name)
            break
    name = re.sub(r"\.residual\.([0236])\.", lambda match: f".{_RESIDUAL[match[1]]}.", name)
    return name.replace(".shortcut.", ".conv_shortcut.")


def _count(state: State, pattern: str) -> int:
    found = [re.match(pattern, name) for name in state]
    return 1 + max((int(match[1]) for match in found if match), default=-1)
