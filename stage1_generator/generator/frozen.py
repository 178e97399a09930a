"""Autoencoder and speech encoder as stage 1 uses them: loading, pixels to tensors, features per entry."""

from __future__ import annotations

import torch

from common.arithmetic import resolve_precision
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
    """The dtype that the ``dtype`` key means on ``device``; "auto" is float32 on every CPU."""
    if name == "auto" and device.type == "cpu":
        return torch.float32
    return resolve_precision(name, device, "dtype")


def load_codec(config: Stage1Config) -> VideoCodec:
    """The video autoencoder of the configuration, on its device."""
    device = pick_device(config.device)
    if not config.vae.path:
        raise UserError(
            "vae.path is empty: train an autoencoder with `python -m common.autoencoder.train`, or "
            "name the folder of one."
        )
    return VideoCodec(build_vae(config.vae)).to(device, pick_dtype(config.dtype, device))
