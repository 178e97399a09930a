"""Checkpoints: folders ``step-XXXXXXXX``, whole or absent, and a ``latest`` file that names the newest.

    step-00000500/checkpoint.json      everything that is no tensor
                  model/               trained parameters
                  ema/                 their averages
                  optimizer/           its state as <parameter name>|<state key>: no order, no pickle

A group of tensors is a folder of safetensors files that torch's distributed checkpoint writes and reads:
every process writes its own part, all into one temporary folder that the main process then renames. Any
number of processes, with split or whole parameters, reads what any other number wrote. All of them see one
file system.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.distributed.checkpoint import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

from common.errors import UserError
from common.files import atomic_path, publish_dir, read_json, write_json
from common.training.durable import together

_LATEST = "latest"
_META = "checkpoint.json"
# A file is put together in memory: this bounds what writing takes beyond the tensors.
_FILE_BYTES = 2 << 30


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk. ``meta`` is its JSON; tensor groups are read when asked for."""

    folder: Path
    meta: dict[str, Any]

    @property
    def step(self) -> int:
        return int(self.meta["step"])

    def described(self, group: str) -> dict[str, tuple[torch.Size, torch.dtype]]:
        """Whole shape and dtype of each tensor of a group. Raises UserError when it is missing or damaged."""
        with self._readable(group):
            stored = HuggingFaceStorageReader(str(self.folder / group)).read_metadata().state_dict_metadata
        return {
            name: (value.size, value.properties.dtype)
            for name, value in stored.items()
            if isinstance(value, TensorStorageMetadata)
        }

    def read(self, group: str, into: Mapping[str, Tensor]) -> None:
        """Fill ``into``, whole or split tensors on any device, in place; only parts that lie here are read.

        Raises:
            UserError: names or shapes differ from what is stored, or a file is missing or damaged.
        """
        stored = self.described(group)
        missing = sorted(set(into) ^ set(stored))
        if missing:
            raise UserError(
                f"{self.folder}: does not fit this model: {len(missing)} names differ, the first is "
                f"'{missing[0]}'; use another train.output, or the configuration that made the checkpoint."
            )
        for name, value in into.items():
            if value.shape != stored[name][0]:
                raise UserError(
                    f"{self.folder}: '{name}' has shape {list(stored[name][0])}, here {list(value.shape)}; "
                    "use another train.output, or the configuration that made the checkpoint."
                )
        with self._readable(group), torch.no_grad(), _quiet():
            reader = HuggingFaceStorageReader(str(self.folder / group))
            # Each process reads for itself: nothing has to be agreed on.
            dcp.load(
                {name: value.detach() for name, value in into.items()}, storage_reader=reader, no_dist=True
            )

    def tensors(self, group: str) -> dict[str, Tensor]:
        """One group of whole tensors by name, on the CPU. Raises UserError when it is missing or damaged."""
        whole = {
            name: torch.empty(size, dtype=dtype) for name, (size, dtype) in self.described(group).items()
        }
        self.read(group, whole)
        return whole

    @contextmanager
    def _readable(self, group: str) -> Iterator[None]:
        """Translates what goes wrong while files of ``group`` are read."""
        folder, fall_back = self.folder / group, "delete that checkpoint to fall back to an older one."
        if not folder.is_dir():
            raise UserError(f"{folder}: missing from the checkpoint; {fall_back}")
        try:
            yield
        except (CheckpointException, SafetensorError, OSError, KeyError, ValueError) as error:
            cause: BaseException = error
            if isinstance(error, CheckpointException):
                cause = next(iter(error.failures.values()))[0]
            raise UserError(f"{folder}: damaged ({cause}); {fall_back}") from error


def save_checkpoint(
    output: Path,
    step: int,
    groups: Mapping[str, Mapping[str, Tensor]],
    meta: Mapping[str, Any],
    keep: int,
    collective: bool = False,
) -> Path:
    """Write ``output/step-XXXXXXXX``, point ``latest`` at it, and keep only the newest ``keep`` up to it.

    ``collective``: all processes of the run call this with their parts; without it this process saves alone.

    Raises:
        DiskFullError: in all processes, where one found no space. Nothing half-written stays; older
            checkpoints and ``latest`` are as they were.
    """
    folder = output / f"step-{step:08d}"
    temporary = output / f".part-{folder.name}"
    main = not collective or dist.get_rank() == 0
    try:
        with together(collective):
            if main:
                shutil.rmtree(temporary, ignore_errors=True)
                temporary.mkdir()
        with together(collective), _quiet():
            for group, tensors in groups.items():
                _write_group(temporary / group, tensors, collective)
        with together(collective):
            if main:
                write_json(temporary / _META, {**meta, "step": step})
                publish_dir(temporary, folder)
                # Only after the folder is whole: `latest` never names a broken one.
                with atomic_path(output / _LATEST) as marker:
                    marker.write_text(folder.name + "\n")
                for old in [path for path in _folders(output) if path <= folder][: -max(keep, 1)]:
                    shutil.rmtree(old)
    finally:
        if main:
            shutil.rmtree(temporary, ignore_errors=True)
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


def _folders(output: Path) -> list[Path]:
    return sorted(path.parent for path in output.glob(f"step-*/{_META}"))


def _write_group(folder: Path, tensors: Mapping[str, Tensor], collective: bool) -> None:
    files: dict[str, int] = {}
    number, filled = 1, 0  # bytes of whole tensors, so that all processes number alike
    for name, value in tensors.items():
        if filled and filled + value.nbytes > _FILE_BYTES:
            number, filled = number + 1, 0
        files[name], filled = number, filled + value.nbytes
    writer = HuggingFaceStorageWriter(str(folder), fqn_to_index_mapping=files, save_distributed=True)
    own = {name: value.detach().contiguous() for name, value in tensors.items()}
    dcp.save(own, storage_writer=writer, no_dist=not collective)


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        # One process is a case of its own here, not an oversight.
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield


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
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter], checkpoint: Checkpoint
) -> None:
    """Put back what ``optimizer_tensors`` gave. Raises UserError for a parameter not trained here."""
    # Fused kernels want the step counter beside the parameter, all others on the CPU.
    fused = {id(value): group.get("fused") for group in optimizer.param_groups for value in group["params"]}
    state: dict[str, Tensor] = {}
    for full_name, (shape, dtype) in checkpoint.described("optimizer").items():
        name, _, key = full_name.rpartition("|")
        if name not in parameters:
            raise UserError(
                f"The checkpoint's optimiser state names '{name}', which this model does not train."
            )
        parameter = parameters[name]
        if key == "step":
            place = torch.zeros(
                shape, dtype=dtype, device=parameter.device if fused[id(parameter)] else "cpu"
            )
        else:
            place = torch.zeros_like(parameter, dtype=dtype, requires_grad=False)
        state[full_name] = optimizer.state[parameter][key] = place
    checkpoint.read("optimizer", state)
