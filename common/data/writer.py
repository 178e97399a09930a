"""Shards that are whole or absent, with the same bytes every time.

A folder of shards belongs to one writer. While it works, finished tars are listed in ``progress.jsonl``; the
index appears at the very end, so that a folder with an ``index.json`` is complete. A run that was killed is
started again with the same arguments: shards whose samples, settings and SHA-256 all agree are kept.
"""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from common.data.index import FORMAT, INDEX_NAME, SampleEntry, ShardEntry, ShardIndex, write_index
from common.data.shapes import sample_shape
from common.errors import UserError
from common.files import PathLike, atomic_path, fingerprint, require_writable_dir, sha256_file

PROGRESS_NAME = "progress.jsonl"

# WebDataset cuts a member's name at its first dot; with USTAR the whole name must stay below 100 characters.
_KEY = re.compile(r"[A-Za-z0-9_-]{1,72}")


def safe_key(text: str) -> str:
    """A valid sample key made from any text; a changed one carries a hash, so that texts never collide."""
    if _KEY.fullmatch(text):
        return text
    return re.sub(r"[^A-Za-z0-9_-]+", "_", text)[:48] + "-" + fingerprint(text)[:12]


class ShardWriter:
    """Write samples, in order, into ``<prefix>-000000.tar``, ... and finish with ``index.json``.

    ::

        with ShardWriter(folder, "pairs", 128, meta) as writer:
            for key in keys[writer.resume(keys) :]:
                writer.add(key, encode_sample(...))

    Args:
        folder: made when missing; belongs to this writer alone.
        prefix: start of the tars' names.
        max_samples: samples per shard; only the last one may hold fewer.
        meta: JSON values that go into the index: the fingerprints ("config", "checkpoint", "speech", "vae")
            of everything that decides the samples' bytes. Shards of another ``meta`` are never kept.

    Leaving the block by an exception keeps the finished shards, drops the open one and writes no index.
    """

    def __init__(self, folder: PathLike, prefix: str, max_samples: int, meta: Mapping[str, Any]) -> None:
        if max_samples < 1:
            raise UserError(f"A shard must hold at least one sample, not {max_samples}.")
        self.folder = require_writable_dir(folder)
        self.prefix = prefix
        self.max_samples = max_samples
        self.meta: dict[str, Any] = json.loads(json.dumps(dict(meta)))
        self._shards: list[ShardEntry] = []
        self._keys: set[str] = set()
        self._started = False
        self._closed = False
        self._open_shard: _OpenShard | None = None

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        elif self._open_shard is not None:
            self._open_shard.abort(kind, error, trace)
            self._open_shard = None

    def resume(self, keys: Sequence[str]) -> int:
        """Keep the whole shards of an earlier run; returns how many of the leading ``keys`` they hold.

        Call it before the first ``add``, with every key of the set in the order in which they will be added.
        """
        if self._started:
            raise RuntimeError("resume() comes before the first add()")
        done = 0
        for number, shard in enumerate(self._earlier_shards()):
            wanted = list(keys[done : done + self.max_samples])
            if (
                not wanted
                or shard.url != self._name(number)
                or [sample.key for sample in shard.samples] != wanted
                or not self._is_intact(shard)
            ):
                break
            self._shards.append(shard)
            self._keys.update(wanted)
            done += len(wanted)
        return done

    def add(self, key: str, members: Mapping[str, bytes]) -> None:
        """Append a sample; ``members`` maps "meta.json" and so on to bytes and is written in its order."""
        if self._closed:
            raise RuntimeError("add() after close()")
        if not _KEY.fullmatch(key):
            raise UserError(f"{key!r} is no sample key: use 1-72 letters, digits, '_' or '-' (see safe_key).")
        if key in self._keys:
            raise UserError(f"The sample key {key!r} occurs twice in '{self.folder}': keys must be unique.")
        self._start()
        if self._open_shard is None:
            self._open_shard = _OpenShard(self.folder / self._name(len(self._shards)))
        self._open_shard.add(key, members)
        self._keys.add(key)
        if len(self._open_shard.samples) == self.max_samples:
            self._finish_shard()

    def close(self) -> ShardIndex:
        """Finish the last shard and write the index."""
        if self._open_shard is not None:
            self._finish_shard()
        index = ShardIndex(self.folder, self.meta, self._shards)
        if not self._closed:
            self._closed = True
            write_index(index)
            (self.folder / PROGRESS_NAME).unlink(missing_ok=True)
            self._remove_strays({shard.url for shard in self._shards})
        return index

    def _name(self, number: int) -> str:
        return f"{self.prefix}-{number:06d}.tar"

    def _is_intact(self, shard: ShardEntry) -> bool:
        file = self.folder / shard.url
        return file.is_file() and file.stat().st_size == shard.filesize and sha256_file(file) == shard.sha256

    def _earlier_shards(self) -> list[ShardEntry]:
        """Entries that an earlier run with the same ``meta`` left, from its progress or its index."""
        progress, index = self.folder / PROGRESS_NAME, self.folder / INDEX_NAME
        if progress.is_file():
            # The last line may be torn by the kill; everything before it was synced.
            lines = progress.read_text(encoding="utf-8").splitlines()
            documents = [json.loads(line) for line in lines if _is_json(line)]
            header, entries = (documents[0], documents[1:]) if documents else ({}, [])
        elif index.is_file() and _is_json(text := index.read_text(encoding="utf-8")):
            header = json.loads(text)
            entries = header.get("shardlist", [])
        else:
            return []
        if header.get("format") != FORMAT or header.get("meta") != self.meta:
            return []
        return [ShardEntry.from_json(entry) for entry in entries]

    def _start(self) -> None:
        """From here on the folder changes: first make it an unfinished one."""
        if self._started:
            return
        self._started = True
        lines = [{"format": FORMAT, "meta": self.meta}, *(shard.to_json() for shard in self._shards)]
        with atomic_path(self.folder / PROGRESS_NAME) as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        (self.folder / INDEX_NAME).unlink(missing_ok=True)

    def _finish_shard(self) -> None:
        assert self._open_shard is not None
        entry = self._open_shard.finish()
        self._open_shard = None
        self._shards.append(entry)
        with (self.folder / PROGRESS_NAME).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry.to_json()) + "\n")
            stream.flush()
            os.fsync(stream.fileno())

    def _remove_strays(self, keep: set[str]) -> None:
        """Remove tars of an earlier, longer run and what a killed run was writing."""
        shard = re.compile(re.escape(self.prefix) + r"-\d{6}\.tar|\.part-.*\.tar")
        for file in self.folder.iterdir():
            if shard.fullmatch(file.name) and file.name not in keep:
                file.unlink()


class _OpenShard:
    """One tar on its way to becoming a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.samples: list[SampleEntry] = []
        self._stack = ExitStack()
        temporary = self._stack.enter_context(atomic_path(path))
        self._tar = self._stack.enter_context(
            tarfile.TarFile(temporary, mode="w", format=tarfile.USTAR_FORMAT)
        )

    def add(self, key: str, members: Mapping[str, bytes]) -> None:
        places: dict[str, list[int]] = {}
        for name, data in members.items():
            # TarInfo's defaults (time 0, root, mode 0644) do not change: that makes the bytes repeatable.
            info = tarfile.TarInfo(f"{key}.{name}")
            info.size = len(data)
            places[name] = [self._tar.offset + tarfile.BLOCKSIZE, len(data)]
            self._tar.addfile(info, io.BytesIO(data))
        shape = sample_shape(members, lambda name, offset, size: members[name][offset : offset + size])
        self.samples.append(SampleEntry(key, places, shape))

    def finish(self) -> ShardEntry:
        self._stack.close()
        size = self.path.stat().st_size
        return ShardEntry(self.path.name, size, sha256_file(self.path), len(self.samples), self.samples)

    def abort(
        self, kind: type[BaseException], error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except json.JSONDecodeError:
        return False
    return True
