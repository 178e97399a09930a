"""What training does when the disk is full: it goes on, says so once, and writes later what it could not."""

from __future__ import annotations

import errno
import io
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch.distributed as dist
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.distributed.checkpoint.api import CheckpointException
from torch.utils.tensorboard import SummaryWriter

from common.errors import UserError

# A full disk, a full quota, and a file beyond the size that the system allows.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Log records that wait for space; beyond that the oldest are lost.
_WAITING_BYTES = 16 << 20


class DiskFullError(UserError):
    """There is no space for what was to be written; raised by all processes of a run together.

    ``reason``: the system's words.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"The disk is full ({reason}): free space and run the same command again.")
        self.reason = reason


def is_disk_full(error: BaseException) -> bool:
    """Whether an error says that there is no space, also where a library wrapped it."""
    if isinstance(error, CheckpointException):
        return all(is_disk_full(one) for one, _ in error.failures.values())
    if isinstance(error, OSError):
        return error.errno in _FULL
    # safetensors words the system's error instead of raising it.
    return any(f"code: {code}," in str(error) or f"os error {code})" in str(error) for code in _FULL)


@contextmanager
def together(collective: bool = True) -> Iterator[None]:
    """What fails in one process fails in all: none waits for another that has given up.

    ``collective``: all processes enter and leave the block; without it only this one is concerned.

    Raises:
        DiskFullError: space ran out in some process, and nothing else failed.
        Exception: what failed here, or a RuntimeError that tells what failed elsewhere.
    """
    error: BaseException | None = None
    try:
        yield
    except (Exception, CheckpointException) as raised:
        error = raised
    mine = None if error is None else (is_disk_full(error), _words(error))
    failures = [mine]
    if collective and dist.is_initialized():
        failures = [None] * dist.get_world_size()
        dist.all_gather_object(failures, mine)
    found = [failure for failure in failures if failure is not None]
    if not found:
        return
    if all(full for full, _ in found):
        raise DiskFullError(found[0][1]) from error
    if isinstance(error, CheckpointException):
        raise next(iter(error.failures.values()))[0] from error
    raise error if error is not None else RuntimeError(f"Another process failed: {found[0][1]}")


def _words(error: BaseException) -> str:
    if isinstance(error, CheckpointException):
        return _words(next(iter(error.failures.values()))[0])
    return f"{error.strerror}" if isinstance(error, OSError) and error.strerror else str(error)


class DurableFile:
    """A file that grows by whole records. What finds no space waits and is written with the next record."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting: list[bytes] = []

    def append(self, record: bytes) -> None:
        """Write what waits, then ``record``; where there is no space, warn once and keep them."""
        had_to_wait = bool(self._waiting)
        self._waiting.append(record)
        self._write(warn=not had_to_wait)

    def flush(self) -> None:
        """Try once more to write what waits."""
        if self._waiting:
            self._write(warn=False)

    def _write(self, warn: bool) -> None:
        size = self._path.stat().st_size if self._path.exists() else 0
        try:
            with self._path.open("ab") as stream:
                stream.write(b"".join(self._waiting))
        except OSError as error:
            if not is_disk_full(error):
                raise
            # Half a record would make the rest of the file unreadable.
            if self._path.exists():
                os.truncate(self._path, size)
            if warn:
                print(
                    f"warning: {self._path} cannot grow ({error.strerror}); training goes on, the log is "
                    "completed when there is space again",
                    file=sys.stderr,
                    flush=True,
                )
            while sum(map(len, self._waiting)) > _WAITING_BYTES:
                self._waiting.pop(0)
            return
        self._waiting.clear()


def summary_writer(folder: Path, purge_step: int) -> SummaryWriter:
    """A TensorBoard writer whose records survive a full disk, and which needs no thread of its own."""
    writer = SummaryWriter(str(folder), purge_step=purge_step)
    records: Any = writer.file_writer
    records.event_writer.close()  # so far it holds only where the resumed run begins
    records.event_writer = _EventFile(folder)
    return writer


class _EventFile:
    """Stands in for TensorBoard's EventFileWriter, whose thread ends for good at the first failed write."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Sorts behind the header's file, whose name ends in a number.
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.run"
        self._file = DurableFile(folder / name)
        self.add_event(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def get_logdir(self) -> str:
        return str(self._folder)

    def add_event(self, event: Any) -> None:
        record = io.BytesIO()
        RecordWriter(record).write(event.SerializeToString())
        self._file.append(record.getvalue())

    def flush(self) -> None:
        self._file.flush()

    close = flush  # nothing is open between two records

    def reopen(self) -> None:
        """Nothing was closed."""
