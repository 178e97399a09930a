"""Autoencoder and speech encoder as stage 1 uses them: loading, pixels to tensors, features per entry."""

from __future__ import annotations

import torch

from common.autoencoder.codec import VideoCodec, build_vae
from common.errors import UserError
from stage1_generator.config import Stage1Config


def pick_device(name: str) -> torch.device:
    """ "auto" is the first GPU where there is one.

    Raises:
        UserError: the name is no device, or the GPU is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f'device is "{name}", which is no device: use "auto", "cpu" or "cuda".') from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f'device is "{name}", but there is no GPU here: use "cpu" or "auto".')
    return device


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """ "auto" is bfloat16 on a GPU, else float32."""
    known = {"fp32": torch.float32, "bf16": torch.bfloat16}
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if name not in known:
        raise UserError(f'dtype is "{name}": use "auto", "fp32" or "bf16".')
    return known[name]


def load_codec(config: Stage1Config) -> VideoCodec:
    """The video autoencoder of the configuration, on its device."""
    device = pick_device(config.device)
    if not config.vae.path:
        raise UserError(
            "vae.path is empty: train an autoencoder with `python -m common.autoencoder.train`, or "
            "name the folder of one."
        )
    return VideoCodec(build_vae(config.vae)).to(device, pick_dtype(config.dtype, device))
