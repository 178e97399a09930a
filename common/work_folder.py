"""A work folder has one writer at a time, and nothing half-written is left in it."""

from __future__ import annotations

import fcntl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.files import remove_partial, require_writable_dir


@contextmanager
def sole_writer(work: Path) -> Iterator[None]:
    """Hold the work folder's lock; wait while another command holds it.

    A run that was started again after its parent was killed may meet the orphan of the first run: the two
    must not remove each other's temporary files. The kernel drops the lock with the process, however it ends.
    """
    require_writable_dir(work)
    with (work / ".lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{work}: another command is writing here, waiting for it", file=sys.stderr)
            fcntl.flock(handle, fcntl.LOCK_EX)
        remove_partial(work)
        yield
