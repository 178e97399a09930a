"""From the original key format of the Wan2.2 autoencoder (R: Wan2.2_VAE.safetensors) to AutoencoderKLWan."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isqrt
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

from common.errors import UserError
from common.models.stored import Shaped

State = Mapping[str, Shaped]

# Of the Wan2.2 autoencoder's 48 channels (R: constants of its code, in no file).
WAN22_LATENTS_MEAN = (
    -0.2289, -0.0052, -0.1323, -0.2339, -0.2799, 0.0174, 0.1838, 0.1557, -0.1382, 0.0542, 0.2813, 0.0891,
    0.1570, -0.0098, 0.0375, -0.1825, -0.2246, -0.1207, -0.0698, 0.5109, 0.2665, -0.2108, -0.2158, 0.2502,
    -0.2055, -0.0322, 0.1109, 0.1567, -0.0729, 0.0899, -0.2799, -0.1230, -0.0313, -0.1649, 0.0117, 0.0723,
    -0.2839, -0.2083, -0.0520, 0.3748, 0.0152, 0.1957, 0.1433, -0.2944, 0.3573, -0.0548, -0.1681, -0.0667,
)  # fmt: skip
WAN22_LATENTS_STD = (
    0.4765, 1.0364, 0.4514, 1.1677, 0.5313, 0.4990, 0.4818, 0.5013, 0.8158, 1.0344, 0.5894, 1.0901,
    0.6885, 0.6165, 0.8454, 0.4978, 0.5759, 0.3523, 0.7135, 0.6804, 0.5833, 1.4146, 0.8986, 0.5659,
    0.7069, 0.5338, 0.4889, 0.4917, 0.4069, 0.4999, 0.6866, 0.4093, 0.5709, 0.6065, 0.6415, 0.4944,
    0.5726, 1.2042, 0.5458, 1.6887, 0.3971, 1.0600, 0.3943, 0.5537, 0.5444, 0.4089, 0.7468, 0.7744,
)  # fmt: skip

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
    state: Mapping[str, torch.Tensor],
    latents_mean: torch.Tensor,
    latents_std: torch.Tensor,
    source: str = "The autoencoder",
) -> AutoencoderKLWan:
    """An autoencoder with the weights of ``state`` (original names), its geometry read off the tensors.

    ``latents_mean`` and ``latents_std`` are (z_dim,); the original keeps them in code, not in the file.
    Raises UserError that names the first tensor that is missing, foreign or misshapen.
    """
    config, originals = map_original_vae(state, source)
    vae = AutoencoderKLWan(**config, latents_mean=latents_mean.tolist(), latents_std=latents_std.tolist())
    vae.load_state_dict({name: state[original] for name, original in originals.items()})
    return vae


def map_original_vae(state: State, source: str = "The autoencoder") -> tuple[dict[str, Any], dict[str, str]]:
    """(constructor arguments without the latent statistics, original name by diffusers' name).

    Looks at shapes only. Raises UserError that names the first tensor that is missing, foreign or misshapen.
    """
    config = infer_vae_config(state, source)
    with torch.device("meta"):
        expected = AutoencoderKLWan(**config, latents_mean=[0.0], latents_std=[1.0]).state_dict()
    originals = {to_diffusers_name(name): name for name in state}
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
    return config, originals


def infer_vae_config(state: State, source: str = "The autoencoder") -> dict[str, Any]:
    """Constructor arguments of AutoencoderKLWan (without the latent statistics) that fit ``state``."""

    def shape(name: str) -> torch.Size:
        if name not in state:
            raise UserError(f"{source} lacks the tensor {name}; it is no Wan2.2 autoencoder.")
        if len(state[name].shape) != 5 or 0 in state[name].shape:
            raise UserError(
                f"{source}: the tensor {name} is {tuple(state[name].shape)}, expected five axes; it is no "
                "Wan2.2 autoencoder."
            )
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
