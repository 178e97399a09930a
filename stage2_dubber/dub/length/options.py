"""Options about lengths, apart from the code that follows them, so that the command line starts quickly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Length(str, Enum):
    """What happens where video and speech are not of one length (sync.so calls the choices sync_mode)."""

    silence = "silence"
    """Nothing is cut or repeated: what is shorter ends earlier, and lips follow silence."""
    cut_off = "cut-off"
    """What is longer is cut off where the other ends."""
    bounce = "bounce"
    """The video is played forward and backward in turn until the speech ends; a longer one is cut off."""
    loop = "loop"
    """The video begins again and again until the speech ends; a longer one is cut off."""
    remap = "remap"
    """The video is played slower or faster, every frame once, so that it is as long as the speech."""


class Outside(str, Enum):
    """What is heard before and after a part that is dubbed."""

    own = "own"
    """The video's own sound."""
    silence = "silence"
    """Nothing."""


@dataclass(frozen=True)
class Timing:
    """What of a video is dubbed, when the speech begins, and how long the result is.

    Attributes:
        length: what happens where video and speech are not of one length.
        start, end: of the part that is dubbed, in seconds after the video's first frame; None: its ends.
        offset: seconds from there to the beginning of the speech; negative: the speech is under way already.
        outside: what is heard before and after the part.
    """

    length: Length = Length.silence
    start: float | None = None
    end: float | None = None
    offset: float = 0.0
    outside: Outside = Outside.own

    @classmethod
    def types(cls) -> dict[str, Callable[[str], Any]]:
        """How the text of each field is read."""
        return {"length": Length, "start": float, "end": float, "offset": float, "outside": Outside}
