"""Small networks as plain modules, read from what diffusers' models write.

A dub needs them before anything else: here is nothing of the libraries that take seconds to import.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from common.errors import UserError
from common.files import read_json
from common.models.frozen import Model, freeze
from common.models.tensor_names import check_tensors

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "diffusion_pytorch_model.safetensors"


def load_network(kind: Callable[..., Model], folder: Path, what: str) -> Model:
    """The network in a folder, frozen, in float32.

    Args:
        kind: takes the settings of its configuration.
        folder: with :data:`CONFIG_FILE` and :data:`WEIGHTS_FILE`.
        what: it is, for messages.

    Raises:
        UserError: there is none, or it cannot be loaded.
    """
    config = read_network_config(folder, what)
    settings = {name: value for name, value in config.items() if not name.startswith("_")}
    try:
        # Without numbers of its own, also none that are drawn: every tensor comes from the file.
        with torch.device("meta"):
            network = kind(**settings)
        state = load_file(folder / WEIGHTS_FILE)
    except (OSError, SafetensorError, TypeError, ValueError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{folder}: the {what} cannot be loaded ({reason}); restore it.") from error
    check_tensors(
        state,
        {name: name for name in state},
        {name: tensor.shape for name, tensor in network.state_dict().items()},
        f"{folder}: the {what}",
        lacks="; restore it.",
        foreign="restore it.",
        misshapen=(f" by its {CONFIG_FILE}", "restore it."),
    )
    # What is stored in 16 bits is widened. Taken as they are: to make room for a copy would import SymPy.
    network.load_state_dict({name: tensor.float() for name, tensor in state.items()}, assign=True)
    return freeze(network)


def read_network_config(folder: Path, what: str) -> dict[str, Any]:
    """Its settings. Raises UserError where there are none."""
    config = read_json(folder / CONFIG_FILE)
    if not isinstance(config, dict):
        raise UserError(f"{folder}: the {what} cannot be loaded ({CONFIG_FILE} has no settings); restore it.")
    return config
