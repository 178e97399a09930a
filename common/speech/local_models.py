"""Speech models of public releases in folders that transformers has saved."""

from __future__ import annotations

from pathlib import Path

from common.errors import UserError
from common.files import PathLike, sampled_digest


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


def model_digest(folder: Path) -> str:
    """Which model it is: a digest of its configuration and of samples of its weights."""
    return sampled_digest([folder / "config.json", *_weights(folder)])


def _weights(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))
