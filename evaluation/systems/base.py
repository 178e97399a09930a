"""How every system is asked for a dub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from evaluation.manifest import Case


@dataclass(frozen=True)
class DubbedFile:
    """A dub.

    Attributes:
        path: the video: the ``output`` that was asked for, or a file that was there already.
        seconds: wall-clock time of the whole work; None where it was made elsewhere.
        seams: seconds at which the system's second and later windows begin.
    """

    path: Path
    seconds: float | None = None
    seams: tuple[float, ...] = ()


class System(Protocol):
    """A dubber. Loaded weights live in it, so one object serves a whole run."""

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str:
        """Changes whenever the same case would get another dub."""
        ...

    def dub(self, case: Case, video: Path, output: Path) -> DubbedFile:
        """Dub ``video`` (the case's own, or on a way back a dub of it) with the case's speech.

        Raises:
            UserError: there is no dub; the report says why.
        """
        ...
