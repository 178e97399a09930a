"""What a job has finished so far, in a hidden folder beside its output, so that the same command goes on.

The folder holds what the face detector saw, what the model made of each window, and the encoded pieces of
the videos (:mod:`common.media.pieces`). It goes when the outputs stand.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from common.errors import UserError
from common.files import atomic_path, fingerprint, remove_partial, require_writable_dir, write_json
from common.partial import kept_dir, kept_path, owned_dir

GOES_ON = "What is done so far is kept beside the output: the same command goes on from there."
"""Said where a job was interrupted."""

log = logging.getLogger("bootdub.dub")

_KEY, _PUBLISHING = "job.json", "publishing.json"
_FACES = "faces-"


class JobFolder:
    """The open folder of one job.

    Args:
        path: of it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, key: str) -> bool:
        """Go on with the job of this ``key``, or begin it: what is left of another one is removed.

        Returns:
            Whether there was something to go on with.
        """
        if self.is_of(key):
            return True
        for path in self.path.iterdir():
            if not path.name.startswith(_FACES):
                path.unlink()
        write_json(self.path / _KEY, key)
        return False

    def is_of(self, key: str) -> bool:
        """Whether the job of this ``key`` has begun here."""
        mark = self.path / _KEY
        return mark.is_file() and mark.read_text(encoding="utf-8").strip() == f'"{key}"'

    def faces(self, key: str) -> Path:
        """Where the record of a face detector lies; ``key`` as :func:`~.key.faces_key` gives it."""
        return self.path / f"{_FACES}{key}.safetensors"

    def piece(self, video: str, number: int, suffix: str) -> Path:
        """Of one of the videos; it exists when it is finished."""
        return self.path / f"{video}-{number:06d}{suffix}"

    def window(self, name: str) -> Path:
        """Where lies what the model made of a window."""
        return self.path / f"window-{name}.safetensors"

    def keep(self, name: str, pictures: np.ndarray) -> None:
        """Save an array until the job is finished."""
        with atomic_path(self.path / f"{name}.npy") as temporary:
            np.save(temporary, pictures, allow_pickle=False)

    def kept(self, name: str) -> np.ndarray:
        """What :meth:`keep` saved."""
        return np.asarray(np.load(self.path / f"{name}.npy", allow_pickle=False))

    def publish(self) -> None:
        """All pieces are finished; outputs that appear from now on are this job's."""
        if not (self.path / _PUBLISHING).is_file():
            write_json(self.path / _PUBLISHING, {})

    @property
    def work(self) -> bool:
        """Whether a window or a piece is finished."""
        return any(path.name != _KEY and not path.name.startswith(_FACES) for path in self.path.iterdir())

    @property
    def faces_known(self) -> bool:
        """Whether the face detector has seen the whole video."""
        return any(path.name.startswith(_FACES) for path in self.path.iterdir())


def folder_of(output: Path) -> Path:
    """Where the job of an output keeps its work; the name's length does not depend on the output's."""
    return kept_path(output.parent, fingerprint(output.name))


def has_published(output: Path, made: Path) -> bool:
    """Whether the file ``made`` is of the job of ``output``, killed before all its outputs stood."""
    mark = folder_of(output) / _PUBLISHING
    return mark.is_file() and made.stat().st_mtime_ns >= mark.stat().st_mtime_ns


@contextmanager
def job_folder(output: Path) -> Iterator[JobFolder]:
    """Hold the folder of a job for this process alone; it is removed at a clean exit.

    After an error it stays where a window or a piece is finished, after an interruption also where the face
    was followed; this is said.

    Raises:
        UserError: another process is at this output.
    """
    require_writable_dir(output.parent)
    try:
        with kept_dir(folder_of(output)) as path:
            remove_partial(path)
            work = JobFolder(path)
            try:
                yield work
            except BaseException as error:
                if work.work or (work.faces_known and not isinstance(error, Exception)):
                    log.warning(GOES_ON)
                else:
                    shutil.rmtree(path, ignore_errors=True)
                raise
            shutil.rmtree(path, ignore_errors=True)
    except BlockingIOError as error:
        raise UserError(
            f"The output '{output}' is being made by another process: wait for it, or give another name."
        ) from error


@contextmanager
def passing_folder(output: Path) -> Iterator[JobFolder]:
    """A folder for a job that nobody will go on with; it is removed at the end."""
    with owned_dir(require_writable_dir(output.parent)) as path:
        yield JobFolder(path)
