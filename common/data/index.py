"""The index beside a folder of shards: what lies where, and what made it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.data.shapes import Shape
from common.errors import UserError
from common.files import PathLike, read_json, write_json

INDEX_NAME = "index.json"
FORMAT = "bootdub-shards-1"


@dataclass(frozen=True)
class SampleEntry:
    """One sample of a shard: member name -> [offset, size] in bytes inside the tar, and its shape.

    ``shape`` is None in sets that were written before indices had it, and where no member of the sample gives
    it.
    """

    key: str
    members: dict[str, list[int]]
    shape: Shape | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SampleEntry:
        shape = data.get("shape")
        if shape is None:
            return cls(str(data["key"]), dict(data["members"]))
        frames, height, width = shape
        return cls(str(data["key"]), dict(data["members"]), (int(frames), int(height), int(width)))

    def to_json(self) -> dict[str, Any]:
        known = {"key": self.key, "members": self.members}
        return known if self.shape is None else {**known, "shape": list(self.shape)}


@dataclass(frozen=True)
class ShardEntry:
    """One tar: its name in the index' folder, its size in bytes, its SHA-256 and its samples in order."""

    url: str
    filesize: int
    sha256: str
    nsamples: int
    samples: list[SampleEntry]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ShardEntry:
        samples = [SampleEntry.from_json(item) for item in data["samples"]]
        return cls(
            str(data["url"]), int(data["filesize"]), str(data["sha256"]), int(data["nsamples"]), samples
        )

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "samples": [sample.to_json() for sample in self.samples]}


@dataclass(frozen=True)
class ShardIndex:
    """A whole, finished set of shards. ``meta`` holds the fingerprints of what made them (docs/data.md)."""

    folder: Path
    meta: dict[str, Any]
    shards: list[ShardEntry]

    @property
    def num_samples(self) -> int:
        return sum(shard.nsamples for shard in self.shards)


def index_path(path: PathLike) -> Path:
    """The index file that a user means by a shard folder or by the index itself."""
    path = Path(path)
    return path / INDEX_NAME if path.is_dir() else path


def read_index(path: PathLike) -> ShardIndex:
    """Read the index of a shard folder, given the folder or its index.json.

    Raises:
        UserError: there is none (the shards are not finished), or it is not an index of this format.
    """
    file = index_path(path)
    if not file.is_file():
        raise UserError(
            f"There is no shard index '{file}': give a folder of finished shards, or run the command that "
            "makes them again."
        )
    data = read_json(file)
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise UserError(f"The file '{file}' is no shard index ({FORMAT}): make the shards again.")
    try:
        shards = [ShardEntry.from_json(item) for item in data["shardlist"]]
        return ShardIndex(file.parent, dict(data["meta"]), shards)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"The shard index '{file}' is damaged ({error!r}): make the shards again.") from error


def write_index(index: ShardIndex) -> None:
    """Write ``index.json``, whole or not at all, with key names as the wids tools have them."""
    document = {
        "format": FORMAT,
        "num_samples": index.num_samples,
        "meta": index.meta,
        "shardlist": [shard.to_json() for shard in index.shards],
    }
    write_json(index.folder / INDEX_NAME, document)
