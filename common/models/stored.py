"""Tensors that stay in their files until they are asked for, piece by piece.

A checkpoint of 5 billion parameters is converted by a machine that could not hold it: pieces are read one by
one, and files are opened again now and then, so that not even mapped pages of the source pile up.
"""

from __future__ import annotations

import pickle
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from common.errors import UserError
from common.files import read_json, require_file

PIECE = 8 << 20
"""Bytes that are read at once, and that stay mapped at most."""

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
    """One tensor of a file."""

    name: str
    shape: torch.Size
    dtype: torch.dtype
    source: _File

    @property
    def file(self) -> Path:
        return self.source.path

    def rows(self, first: int, end: int) -> Tensor:
        """Rows of the first axis, in memory of their own. Raises UserError where the file is damaged."""
        return self.source.rows(self, first, end)

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
    source = _Safetensors(require_file(path, "weights file"))
    found: Stored = {}
    with source.errors():
        content = source.content()
        for name in content.keys():  # noqa: SIM118  # it is no dict
            part = content.get_slice(name)
            dtype = _DTYPES.get(part.get_dtype())
            if dtype is None:
                raise UserError(
                    f"{path}: the tensor {name} is stored as {part.get_dtype()}, which cannot be converted; "
                    "fetch the file in bfloat16, float16 or float32."
                )
            found[name] = StoredTensor(name, torch.Size(part.get_shape()), dtype, source)
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
    source = _Torch(require_file(path, "weights file"), entry)
    with source.errors():
        content = source.content()
    state = content.get(entry) if entry and isinstance(content, dict) else content
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path}: holds no weights{f' under {entry}' if entry else ''}; fetch it again.")
    found = {name: StoredTensor(name, t.shape, t.dtype, source) for name, t in state.items()}
    return found, {key: value for key, value in content.items() if key != entry} if entry else {}


def open_tensor(path: Path) -> StoredTensor:
    """The one tensor that a file of ``torch.save`` is.

    Raises:
        UserError: the file is missing or damaged, or it is something else.
    """
    source = _Torch(require_file(path, "weights file"), "")
    with source.errors():
        content = source.content()
    if not isinstance(content, Tensor):
        raise UserError(f"{path}: is not one tensor; fetch it again.")
    return StoredTensor("", content.shape, content.dtype, source)


class _File(ABC):
    """A file of tensors that is mapped while it is read, and mapped anew after every PIECE bytes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._content: Any = None
        self._given = 0

    def content(self) -> Any:
        """The open file. To be called within :meth:`errors`."""
        if self._content is None:
            self._content = self.opened()
        return self._content

    def rows(self, tensor: StoredTensor, first: int, end: int) -> Tensor:
        if self._given > PIECE:
            self._content, self._given = None, 0
        with self.errors():
            found = self.read(tensor, first, end).clone()
        self._given += found.nbytes
        return found

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Damage as a UserError."""
        try:
            yield
        except pickle.UnpicklingError as error:
            raise UserError(
                f"{self.path}: holds more than tensors and plain values, and is not opened since that could "
                "run foreign code; fetch the file from its publisher."
            ) from error
        except (SafetensorError, RuntimeError, OSError, EOFError, ValueError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0].partition(". ")[0]
            raise UserError(
                f"{self.path}: not a whole {self.kind} ({reason.rstrip('.')}); fetch it again."
            ) from error

    kind: str

    @abstractmethod
    def opened(self) -> Any: ...

    @abstractmethod
    def read(self, tensor: StoredTensor, first: int, end: int) -> Tensor: ...


class _Safetensors(_File):
    kind = "safetensors file"

    def opened(self) -> Any:
        return safe_open(self.path, "pt")

    def read(self, tensor: StoredTensor, first: int, end: int) -> Tensor:
        if not tensor.shape:
            return self.content().get_tensor(tensor.name)
        return self.content().get_slice(tensor.name)[first:end]


class _Torch(_File):
    kind = "zip file of torch.save"

    def __init__(self, path: Path, entry: str) -> None:
        super().__init__(path)
        self._entry = entry

    def opened(self) -> Any:
        return torch.load(self.path, map_location="cpu", weights_only=True, mmap=True)

    def read(self, tensor: StoredTensor, first: int, end: int) -> Tensor:
        content = self.content()
        if self._entry:
            content = content[self._entry]
        found: Tensor = content if isinstance(content, Tensor) else content[tensor.name]
        return found[first:end] if tensor.shape else found
