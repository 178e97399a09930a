"""LTX-2 weights in the key format of their original code, to a folder in diffusers' format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffusers.loaders.single_file_utils import convert_ltx2_transformer_to_diffusers
from diffusers.models.transformers.transformer_ltx2 import LTX2VideoTransformer3DModel
from torch import Tensor


def write_transformer(folder: Path, state: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
    """Store the transformer of a single-file checkpoint; ``config``: diffusers' arguments of its class.

    diffusers' conversion of single files does not know the prompt modulation of 2.3 (0.42.1).

    Raises:
        RuntimeError: tensors are missing or foreign, or have another shape than ``config`` says.
    """
    model = LTX2VideoTransformer3DModel(**config)
    converted = convert_ltx2_transformer_to_diffusers(dict(state))
    model.load_state_dict(
        {name.replace("prompt_adaln_single", "prompt_adaln"): tensor for name, tensor in converted.items()}
    )
    model.save_pretrained(folder)
