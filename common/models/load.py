"""Models in diffusers' folder format, loaded strictly."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers import ModelMixin
from safetensors import SafetensorError

from common.errors import UserError

Model = TypeVar("Model", bound=ModelMixin)


def narrowed(model: Any, state: Mapping[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """``state``, tensors of ``model`` by name, in ``dtype``; what the model keeps in float32 stays."""
    keep = model._keep_in_fp32_modules or ()
    return {n: t if any(part in n for part in keep) else t.to(dtype) for n, t in state.items()}


def load_strictly(kind: type[Model], folder: Path, dtype: torch.dtype = torch.float32) -> Model:
    """The transformer of class ``kind`` in a save_pretrained folder.

    Raises UserError where it is absent or damaged, or a tensor is missing, foreign or misshapen.
    """
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder}: no transformer there (no config.json); the model is incomplete.")
    load: Any = kind.from_pretrained
    try:
        model, report = load(folder, torch_dtype=dtype, local_files_only=True, output_loading_info=True)
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"{folder}: the transformer cannot be loaded ({reason}); make the model again."
        ) from error
    for key, words in (("missing_keys", "lacks"), ("unexpected_keys", "holds the foreign")):
        if report[key]:
            raise UserError(
                f"{folder}: the transformer {words} tensor {sorted(report[key])[0]}; make it again."
            )
    return model
