"""Random access to the samples of finished shards."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from torch.utils.data import Dataset

from common.data.handles import ShardHandles
from common.data.index import SampleEntry, ShardIndex, read_index
from common.data.schema import Sample
from common.data.shapes import Shape, sample_shape
from common.errors import UserError
from common.files import PathLike


class ShardDataset(Dataset[Sample]):
    """The samples of one or more shard folders, in order, each read from its offset inside the tar.

    Args:
        paths: shard folders or their index.json files; one path or several.

    Raises:
        UserError: an index is missing or empty, or a tar is missing or of another size than it was written.
    """

    def __init__(self, paths: PathLike | Sequence[PathLike]) -> None:
        listed = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
        if not listed:
            raise UserError("No shards are given: set data.shards to one or more shard folders.")
        self.indices = [read_index(path) for path in listed]
        self._handles = ShardHandles()
        self._entries: list[tuple[Path, SampleEntry]] = []
        for index in self.indices:
            _check(index)
            for shard in index.shards:
                self._entries += [(index.folder / shard.url, sample) for sample in shard.samples]

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, number: int) -> Sample:
        return self.sample(number)

    @property
    def sizes(self) -> list[int]:
        """Number of samples of each path, for a weighted sampler."""
        return [index.num_samples for index in self.indices]

    @property
    def shards(self) -> list[list[range]]:
        """Numbers of the samples in each shard of each path, in order."""
        first, parts = 0, []
        for index in self.indices:
            shards = []
            for shard in index.shards:
                shards.append(range(first, first + len(shard.samples)))
                first += len(shard.samples)
            parts.append(shards)
        return parts

    def shape(self, number: int) -> Shape:
        """(frames, latent height, latent width) of a sample: from the index, or from the sample's headers.

        Raises:
            UserError: neither says it.
        """
        path, entry = self._entries[number]
        if entry.shape is not None:
            return entry.shape

        def read(member: str, offset: int, size: int) -> bytes:
            start, whole = entry.members[member]
            return self._handles.read(path, start + offset, min(size, whole - offset))

        shape = sample_shape(entry.members, read)
        if shape is None:
            raise UserError(
                f"The sample {entry.key} has neither latents nor masks that tell its size: leave "
                "data.buckets empty or make the shards again."
            )
        return shape

    @property
    def keys(self) -> list[str]:
        return [entry.key for _, entry in self._entries]

    def members(self, number: int) -> dict[str, bytes]:
        """All members of a sample as they are stored, for copies of it."""
        path, entry = self._entries[number]
        return {name: self._handles.read(path, *span) for name, span in entry.members.items()}

    def sample(self, number: int) -> Sample:
        """Sample ``number``; nothing is read before one of its parts is asked for."""
        path, entry = self._entries[number]
        readers = {
            name: partial(self._handles.read, path, offset, size)
            for name, (offset, size) in entry.members.items()
        }
        return Sample(entry.key, readers)


def _check(index: ShardIndex) -> None:
    if not index.num_samples:
        raise UserError(f"The shards in '{index.folder}' hold no sample: see what the filters rejected.")
    for shard in index.shards:
        path = index.folder / shard.url
        if not path.is_file():
            raise UserError(f"The shard '{path}' is in the index but missing: make the shards again.")
        if path.stat().st_size != shard.filesize:
            raise UserError(f"The shard '{path}' is not what the index lists: make the shards again.")
