"""Speech models of public releases in folders that transformers has saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from common.errors import UserError
from common.files import PathLike, read_json, sampled_digest

_TRAINING_ONLY = "masked_spec_embed"
"""What hides stretches of sound in trainings of wav2vec2 and HuBERT: public weights may lack it."""


def require_model(path: PathLike, name: str, wanted: str) -> Path:
    """The folder ``name`` in ``path``; ``wanted`` is what ``path`` has to hold, for the message.

    Raises:
        UserError: it has no configuration or no weights in safetensors.
    """
    folder = Path(path) / name
    if not path or not (folder / "config.json").is_file() or not _weights(folder):
        raise UserError(
            f"There is no {name} model in '{folder}': set speech.path to a folder with {wanted} "
            "config.json and model.safetensors."
        )
    return folder


def load_model(kind: Any, folder: Path, what: str, part: str = "") -> Any:
    """A model that transformers has saved, in float32.

    Args:
        kind: its class, such as HubertModel.
        folder: with config.json and model.safetensors.
        what: its name, for the messages.
        part: beginning of the names of the weights that are used ("": all of them).

    Raises:
        UserError: the files are damaged, of another model, or lack weights, which would then be random.
    """
    whole = f"name the folder of a whole {what} model."
    try:
        found = read_json(folder / "config.json").get("model_type", kind.config_class.model_type)
        if found != kind.config_class.model_type:
            raise UserError(f"{folder}: holds a model of the kind '{found}' and no {what} model; {whole}")
        model, info = kind.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except (AttributeError, OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise UserError(f"{folder}: cannot be loaded as a {what} model ({reason}); {whole}") from error
    missing = sorted(
        name for name in info["missing_keys"] if name.startswith(part) and _TRAINING_ONLY not in name
    )
    if missing:
        raise UserError(f"{folder}: the {what} model there lacks the weights '{missing[0]}'; {whole}")
    return model


def model_digest(folder: Path) -> str:
    """Which model it is: a digest of its configuration and of samples of its weights."""
    return sampled_digest([folder / "config.json", *_weights(folder)])


def _weights(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))
