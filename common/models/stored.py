"""Tensors that stay in their files until they are asked for, piece by piece.

A checkpoint of 5 billion parameters is converted by a machine that could not hold it: every piece is read on
its own, and its file is closed again, so that not even mapped pages of the source stay in memory.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from common.errors import UserError
from common.files import read_json, require_file

PIECE = 16 << 20
"""Bytes that are read at once."""

Rows = Callable[[int, int], Tensor]

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
}


class Shaped(Protocol):
    """What converters look at: a tensor, or one that is still in its file."""

    @property
    def shape(self) -> torch.Size: ...


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of a file. ``opened`` gives access to its rows while the file is open."""

    file: Path
    name: str
    shape: torch.Size
    dtype: torch.dtype
    opened: Callable[[], AbstractContextManager[Rows]]

    def rows(self, first: int, end: int) -> Tensor:
        """Rows of the first axis, in memory of their own. Raises UserError where the file is damaged."""
        with self.opened() as read:
            return read(first, end).clone()

    def pieces(self, limit: int = PIECE) -> Iterator[Tensor]:
        """The tensor in consecutive runs of rows of about ``limit`` bytes; a scalar is one run."""
        count = self.shape[0] if self.shape else 1
        # A tensor without elements is one empty piece.
        size = self.dtype.itemsize * self.shape.numel() // max(count, 1)
        step = max(limit // max(size, 1), 1)
        for first in range(0, max(count, 1), step):
            yield self.rows(first, min(first + step, count))

    def load(self) -> Tensor:
        """All of it."""
        return torch.cat(list(self.pieces())) if self.shape else self.rows(0, 1)


Stored = dict[str, StoredTensor]


def open_safetensors(path: Path) -> Stored:
    """The tensors of one safetensors file by name.

    Raises:
        UserError: the file is missing, truncated or holds a kind of number that no model here has.
    """
    found: Stored = {}
    with _safetensors(require_file(path, "weights file")) as file:
        for name in file.keys():  # noqa: SIM118  # it is no dict
            part = file.get_slice(name)
            dtype = _DTYPES.get(part.get_dtype())
            if dtype is None:
                raise UserError(
                    f"{path}: the tensor {name} is stored as {part.get_dtype()}, which cannot be converted; "
                    "fetch the file in bf16, fp16 or fp32."
                )
            found[name] = StoredTensor(path, name, torch.Size(part.get_shape()), dtype, _rows_of(path, name))
    return found


def open_folder(folder: Path, stem: str) -> Stored:
    """The tensors of ``stem``.safetensors in ``folder``, or of the shards that its index names.

    Raises:
        UserError: there is neither, a shard is missing or damaged, or the index does not fit the shards.
    """
    index = folder / f"{stem}.safetensors.index.json"
    if not index.is_file():
        return open_safetensors(folder / f"{stem}.safetensors")
    content = read_json(index)
    places = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(places, dict) or any(Path(str(name)).name != name for name in places.values()):
        raise UserError(f"{index}: not the index of a sharded model; fetch it again.")
    found: Stored = {}
    for name in sorted(set(places.values())):
        found |= open_safetensors(folder / name)
    for tensor, name in places.items():
        if tensor not in found or found[tensor].file.name != name:
            raise UserError(f"{folder / name}: lacks the tensor {tensor}, which {index.name} places there.")
    return found


def open_torch(path: Path, entry: str = "") -> tuple[Stored, dict[str, Any]]:
    """(tensors, everything) of a file of ``torch.save``; the tensors lie under ``entry`` where one is named.

    Only tensors and plain values are unpickled (``weights_only``): nothing in the file is executed.

    Raises:
        UserError: the file is missing, damaged, no zip archive of torch, or holds other objects.
    """
    with _torch(require_file(path, "weights file")) as content:
        state = content.get(entry) if entry and isinstance(content, dict) else content
        if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
            raise UserError(f"{path}: holds no weights{f' under {entry}' if entry else ''}; fetch it again.")
        found = {
            name: StoredTensor(path, name, tensor.shape, tensor.dtype, _torch_rows_of(path, entry, name))
            for name, tensor in state.items()
        }
        others = {key: value for key, value in content.items() if key != entry} if entry else {}
    return found, others


def _rows_of(path: Path, name: str) -> Callable[[], AbstractContextManager[Rows]]:
    @contextmanager
    def opened() -> Iterator[Rows]:
        with _safetensors(path) as file:
            part = file.get_slice(name)
            scalar = not part.get_shape()
            yield lambda first, end: file.get_tensor(name) if scalar else part[first:end]

    return opened


def _torch_rows_of(path: Path, entry: str, name: str) -> Callable[[], AbstractContextManager[Rows]]:
    @contextmanager
    def opened() -> Iterator[Rows]:
        with _torch(path) as content:
            tensor = (content[entry] if entry else content)[name]
            yield lambda first, end: tensor[first:end] if tensor.ndim else tensor

    return opened


@contextmanager
def _safetensors(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, "pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path}: not a whole safetensors file ({_reason(error)}); fetch it again."
        ) from error


@contextmanager
def _torch(path: Path) -> Iterator[Any]:
    try:
        yield torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path}: holds more than tensors and plain values, and is not opened since that could run "
            "foreign code; fetch the file from its publisher."
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError) as error:
        raise UserError(
            f"{path}: not a whole file of torch.save ({_reason(error)}); fetch it again."
        ) from error


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
