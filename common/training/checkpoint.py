"""Checkpoints: folders ``step-XXXXXXXX``, whole or absent, and a ``latest`` file that names the newest.

A checkpoint holds named groups of tensors, one safetensors file each, and one JSON file with everything that
is no tensor. Optimiser state is stored by parameter name: it does not depend on the order of parameters, and
no pickle is needed.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from common.errors import UserError
from common.files import atomic_dir, atomic_path, read_json, write_json

_LATEST = "latest"
_META = "checkpoint.json"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk. ``meta`` is its JSON; tensor groups are read when asked for."""

    folder: Path
    meta: dict[str, Any]

    @property
    def step(self) -> int:
        return int(self.meta["step"])

    def tensors(self, group: str) -> dict[str, Tensor]:
        """One group of tensors by name, on the CPU. Raises UserError when the file is missing or damaged."""
        file = self.folder / f"{group}.safetensors"
        if not file.is_file():
            raise UserError(
                f"{file}: missing from the checkpoint; delete that folder to fall back to an older one."
            )
        try:
            return load_file(file)
        except SafetensorError as error:
            raise UserError(
                f"{file}: damaged ({error}); delete that folder to fall back to an older one."
            ) from error


def save_checkpoint(
    output: Path, step: int, groups: Mapping[str, Mapping[str, Tensor]], meta: Mapping[str, Any], keep: int
) -> Path:
    """Write ``output/step-XXXXXXXX``, point ``latest`` at it, and remove all but the newest ``keep``."""
    folder = output / f"step-{step:08d}"
    with atomic_dir(folder) as temporary:
        for group, tensors in groups.items():
            own = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
            save_file(own, temporary / f"{group}.safetensors")
        write_json(temporary / _META, {**meta, "step": step})
    # Only after the folder is whole: `latest` never names a broken one.
    with atomic_path(output / _LATEST) as temporary:
        temporary.write_text(folder.name + "\n")
    for old in _folders(output)[: -max(keep, 1)]:
        shutil.rmtree(old)
    return folder


def latest_checkpoint(output: Path) -> Checkpoint | None:
    """The checkpoint that ``output/latest`` names, else the newest folder, else None."""
    folders = _folders(output)
    marker = output / _LATEST
    if marker.is_file():
        named = output / marker.read_text().strip()
        if named in folders:
            return Checkpoint(named, read_json(named / _META))
    return Checkpoint(folders[-1], read_json(folders[-1] / _META)) if folders else None


def remove_partial(output: Path) -> None:
    """Delete what a killed run left half-written in ``output``; for the one process that writes there."""
    for path in output.glob(".part-*"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _folders(output: Path) -> list[Path]:
    return sorted(path.parent for path in output.glob(f"step-*/{_META}"))


def optimizer_tensors(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]
) -> dict[str, Tensor]:
    """Optimiser state as ``<parameter name>|<state key>`` -> tensor."""
    out: dict[str, Tensor] = {}
    for name, parameter in parameters.items():
        for key, value in optimizer.state.get(parameter, {}).items():
            out[f"{name}|{key}"] = value if isinstance(value, Tensor) else torch.tensor(value)
    return out


def load_optimizer(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter], tensors: Mapping[str, Tensor]
) -> None:
    """Put back what ``optimizer_tensors`` gave. Raises UserError for a parameter not trained here."""
    for full_name, value in tensors.items():
        name, _, key = full_name.rpartition("|")
        if name not in parameters:
            raise UserError(
                f"The checkpoint's optimiser state names '{name}', which this model does not train."
            )
        parameter = parameters[name]
        # The step counter stays on the CPU, where AdamW without `capturable` wants it.
        place = value.clone() if key == "step" else value.to(parameter.device, copy=True)
        optimizer.state[parameter][key] = place


def load_parameters(
    parameters: Mapping[str, nn.Parameter], tensors: Mapping[str, Tensor], where: Path
) -> None:
    """Copy stored values into parameters. Raises UserError unless all names and shapes agree."""
    missing = sorted(set(parameters) ^ set(tensors))
    if missing:
        raise UserError(
            f"{where}: does not fit this model: {len(missing)} names differ, the first is '{missing[0]}'; "
            "use another train.output, or the configuration that made the checkpoint."
        )
    for name, parameter in parameters.items():
        if parameter.shape != tensors[name].shape:
            raise UserError(
                f"{where}: '{name}' has shape {list(tensors[name].shape)}, here {list(parameter.shape)}; "
                "use another train.output, or the configuration that made the checkpoint."
            )
        with torch.no_grad():
            parameter.copy_(tensors[name])
