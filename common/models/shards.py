"""Sharded safetensors written piece by piece: memory holds a piece of one tensor, never a shard."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub import split_torch_state_dict_into_shards
from torch import Tensor

from common.errors import UserError
from common.files import write_json
from common.memory import give_back_freed
from common.models.stored import PIECE, StoredTensor

_NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
_SMALLEST_PIECE = 1 << 16


@dataclass(frozen=True)
class Entry:
    """A tensor to write. ``pieces(limit)`` gives its consecutive runs of rows, of about ``limit`` bytes."""

    name: str
    shape: torch.Size
    dtype: torch.dtype
    pieces: Callable[[int], Iterator[Tensor]]

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return self.shape.numel() * self.dtype.itemsize


def stored_entry(name: str, tensor: StoredTensor, dtype: torch.dtype | None = None) -> Entry:
    """``tensor`` under a new name, in ``dtype`` (None: as it is stored).

    Its pieces raise UserError where a value is no number, or is none any more in ``dtype``.
    """
    target = tensor.dtype if dtype is None else dtype
    if target not in _NAMES:
        raise UserError(
            f"{tensor.file}: the tensor {tensor.name} holds {target}, not floating point numbers."
        )

    def pieces(limit: int) -> Iterator[Tensor]:
        for piece in tensor.pieces(limit):
            if not piece.isfinite().all():
                raise UserError(
                    f"{tensor.file}: the tensor {tensor.name} holds values that are no numbers (NaN or "
                    "infinity); the file is damaged or was narrowed too far: fetch another."
                )
            narrowed = piece.to(target)
            if not narrowed.isfinite().all():
                raise UserError(
                    f"{tensor.file}: the tensor {tensor.name} holds {piece.abs().max().item():.4g}, more "
                    f"than {str(target).removeprefix('torch.')} can say; choose bfloat16 or float32."
                )
            yield narrowed

    return Entry(name, tensor.shape, target, pieces)


def made_entry(name: str, shape: torch.Size, make: Callable[[], Tensor]) -> Entry:
    """A float32 tensor that is made when it is written."""

    def pieces(limit: int) -> Iterator[Tensor]:
        tensor = make()
        if tensor.shape != shape:
            raise ValueError(f"{name} was made as {tuple(tensor.shape)}, not {tuple(shape)}")
        yield tensor.float()

    return Entry(name, shape, torch.float32, pieces)


def plan_shards(
    entries: Iterable[Entry], stem: str, max_shard_size: int | str
) -> tuple[dict[str, list[Entry]], dict[str, str]]:
    """(entries by file name, file name by tensor) for files of at most ``max_shard_size`` ("5GB", bytes).

    A larger tensor gets a file of its own. Raises UserError where the size cannot be read.
    """
    by_name = {entry.name: entry for entry in entries}
    state = {name: torch.empty(e.shape, dtype=e.dtype, device="meta") for name, e in by_name.items()}
    try:
        split = split_torch_state_dict_into_shards(
            state, filename_pattern=f"{stem}{{suffix}}.safetensors", max_shard_size=max_shard_size
        )
    except ValueError as error:
        raise UserError(
            f"The shard size {max_shard_size!r} cannot be read: write it as 5GB or 500MB."
        ) from error
    files = {file: [by_name[name] for name in names] for file, names in split.filename_to_tensors.items()}
    return files, dict(split.tensor_to_filename)


def write_shards(
    folder: Path,
    entries: Sequence[Entry],
    stem: str,
    max_shard_size: int | str,
    told: Callable[[int], None] | None = None,
) -> None:
    """Write ``entries`` as ``stem``.safetensors, or as shards with their index, in the layout of the hubs.

    ``told`` is called with the number of bytes written since the last call. Not atomic: ``folder`` is to be
    one that appears as a whole. Raises UserError where a value does not fit, naming the tensor.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files, places = plan_shards(entries, stem, max_shard_size)
    for file, members in files.items():
        write_safetensors(folder / file, members, told)
        give_back_freed()
    if len(files) > 1:
        total = sum(entry.size for entry in entries)
        write_json(
            folder / f"{stem}.safetensors.index.json",
            {"metadata": {"total_size": total}, "weight_map": dict(sorted(places.items()))},
        )


def write_safetensors(
    path: Path, entries: Sequence[Entry], told: Callable[[int], None] | None = None
) -> None:
    """One safetensors file. The library's own writer wants all tensors of a file in memory at once."""
    # Widest numbers first, so that every tensor is aligned for readers that map the file.
    ordered = sorted(entries, key=lambda entry: (-entry.dtype.itemsize, entry.name))
    limit = min(PIECE, max(sum(entry.size for entry in ordered) // 16, _SMALLEST_PIECE))
    with path.open("wb") as file:
        file.write(_header(ordered))
        for entry in ordered:
            written = 0
            for piece in entry.pieces(limit):
                # reshape(-1): a scalar has no axis whose bytes could be viewed.
                data = piece.contiguous().reshape(-1).view(torch.uint8).numpy()
                written += file.write(data.data)
                if told is not None:
                    told(data.nbytes)
            if written != entry.size:
                raise ValueError(f"{entry.name}: {written} bytes came, {entry.size} were announced")


def _header(entries: Sequence[Entry]) -> bytes:
    content: dict[str, Mapping[str, object]] = {"__metadata__": {"format": "pt"}}
    start = 0
    for entry in entries:
        content[entry.name] = {
            "dtype": _NAMES[entry.dtype],
            "shape": list(entry.shape),
            "data_offsets": [start, start + entry.size],
        }
        start += entry.size
    text = json.dumps(content, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
