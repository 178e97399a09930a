"""The trained generator as a later command finds it: a model package, or the newest one of a training run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from common.errors import UserError
from common.files import fingerprint, sha256_file
from common.models.package import load_package
from common.models.vae import VideoCodec
from stage1_generator.config import Stage1Config
from stage1_generator.encoders import pick_device, pick_dtype


@dataclass(frozen=True)
class LoadedGenerator:
    """`context` is the constant text tensor of models with text attention, else None."""

    transformer: Any
    codec: VideoCodec
    context: torch.Tensor | None
    fingerprint: str


def find_package(config: Stage1Config) -> Path:
    """Folder of the generator's model package.

    Raises:
        UserError: none is named and no training run has left one.
    """
    if config.synthesis.model:
        return Path(config.synthesis.model)
    output = Path(config.train.output)
    marker = output / "latest"
    if not config.train.output or not marker.is_file():
        raise UserError(
            f"No trained generator lies in '{output}': run `python -m stage1_generator.train` first, or name a "
            "model package with synthesis.model."
        )
    return output / marker.read_text(encoding="utf-8").strip() / "model"


def load_generator(config: Stage1Config) -> LoadedGenerator:
    """Load the generator on the configured device."""
    folder = find_package(config)
    device = pick_device(config.device)
    package = load_package(folder, device, pick_dtype(config.dtype, device))
    weights = sorted(folder.rglob("*.safetensors"))
    mark = fingerprint([[path.relative_to(folder).as_posix(), sha256_file(path)] for path in weights])
    return LoadedGenerator(package.transformer, package.codec, None, mark)
