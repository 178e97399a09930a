"""Weights that a user gives by path: read without running anything that lies in the file."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from common.errors import UserError
from common.files import PathLike, require_file
from common.models.frozen import freeze

Network = TypeVar("Network", bound=nn.Module)

# Batch norm counts its steps there; files of torch 0.3 do not have it and inference does not read it.
_UNREAD = "num_batches_tracked"


def load_network(network: Network, path: PathLike, what: str) -> Network:
    """``network`` with the tensors of a state dict, frozen, in inference mode.

    Tensors that the network does not name (a classifier's head) are left in the file.

    Args:
        network: says which names and shapes must be there.
        path: a ``.safetensors`` file, or what ``torch.save`` made of a state dict.
        what: the noun of the messages, e.g. "AlexNet of LPIPS".

    Raises:
        UserError: no file, no state dict, a name is missing, or a tensor has another shape.
    """
    tensors = read_state_dict(path, what)
    wanted = {name: value for name, value in network.state_dict().items() if _UNREAD not in name}
    for name, value in wanted.items():
        if name not in tensors:
            raise UserError(f"{path}: is no {what}, it lacks the key '{name}': give the file that is meant.")
        if tensors[name].shape != value.shape:
            raise UserError(
                f"{path}: is no {what}, its '{name}' is {tuple(tensors[name].shape)} and not "
                f"{tuple(value.shape)}: give the file that is meant."
            )
    network.load_state_dict({name: tensors[name] for name in wanted}, strict=False)
    return freeze(network)


def read_state_dict(path: PathLike, what: str) -> dict[str, Tensor]:
    """Name -> tensor. Raises UserError where the file is missing, damaged, or holds something else."""
    file = require_file(path, what)
    try:
        loaded = _read(file)
    # torch has no error class of its own for a file that it cannot read.
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, pickle.UnpicklingError, SafetensorError):
        loaded = None
    if not isinstance(loaded, dict) or not loaded or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise UserError(
            f"{file}: cannot be read as the weights of {what} (a state dict of tensors is wanted, no "
            "TorchScript and no whole model): download it again."
        )
    return loaded


def _read(file: Path) -> object:
    if file.suffix == ".safetensors":
        return load_file(file)
    # weights_only: a pickle may hold any code.
    with warnings.catch_warnings():
        # torch announces that it would run a TorchScript file, and then refuses it.
        warnings.filterwarnings("ignore", "'torch.load' received a zip file")
        return torch.load(file, map_location="cpu", weights_only=True)
