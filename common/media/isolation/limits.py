"""How much of a file is taken on, and how much a decoder may use."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

from common.errors import UserError


@dataclass(frozen=True)
class DecodingLimits:
    """Bounds for files that come from strangers; each has an option to lift it, ``--limit NAME=VALUE``.

    Attributes:
        pixels: of one picture. The default holds 8K in both directions, twice the pixels of 8K video.
        hours: of a file, by its header and by its time stamps.
        streams: in a file.
        memory: gigabytes (2^30 bytes) of data that a decoding process may hold.
        seconds: of computing without any result, after which a decoding process is ended.
    """

    pixels: float = 8192 * 8192
    hours: float = 12
    streams: float = 100
    memory: float = 4
    seconds: float = 120

    def with_words(self, words: Iterable[str]) -> DecodingLimits:
        """These limits with ``NAME=VALUE`` words on top.

        Raises:
            UserError: a word is none of these.
        """
        known = {item.name for item in fields(self)}
        changes: dict[str, float] = {}
        for word in words:
            name, _, text = word.partition("=")
            try:
                value = float(text)
            except ValueError:
                value = math.nan
            if name not in known or not value > 0:
                raise UserError(
                    f"The limit '{word}' is not understood: write one of {', '.join(sorted(known))}, an "
                    "equals sign and a positive number."
                )
            changes[name] = value
        return replace(self, **changes)

    def require_streams(self, count: int, what: str, name: str) -> None:
        """Raises:
        UserError: a file has more streams than are taken on."""
        if count > self.streams:
            raise UserError(
                f"The {what} '{name}' has more than {self.streams:g} streams: give another file, or lift the "
                "bound with --limit streams=N."
            )

    def require_pixels(self, width: int, height: int, name: str) -> None:
        """Raises:
        UserError: pictures are larger than is taken on."""
        if width * height > self.pixels:
            raise UserError(
                f"The video '{name}' has pictures of {width}x{height}, more than {self.pixels:g} pixels: "
                "scale it down, or lift the bound with --limit pixels=N."
            )

    def require_seconds(self, seconds: float, what: str, name: str) -> None:
        """Raises:
        UserError: a file lasts longer than is taken on."""
        if seconds > self.hours * 3600:
            raise UserError(
                f"The {what} '{name}' lasts more than {self.hours:g} hours by its time stamps: cut it, "
                "or lift the bound with --limit hours=N."
            )


LIMITS_VARIABLE = "BOOTDUB_LIMITS"
"""Environment variable with ``NAME=VALUE`` words, for programs that have no option for them."""

_current: DecodingLimits | None = None


def limits() -> DecodingLimits:
    """The limits that hold in this process.

    Raises:
        UserError: the environment variable holds something else.
    """
    global _current
    if _current is None:
        _current = DecodingLimits().with_words(os.environ.get(LIMITS_VARIABLE, "").split())
    return _current


def set_limits(wanted: DecodingLimits) -> None:
    """Set the limits for all files that this process opens from now on."""
    global _current
    _current = wanted
