"""What the header of a Matroska or WebM file says of its tracks and FFmpeg's writer leaves out.

The sizes of the shown picture, where the codec does not say the shape of pixels, and what a sound track holds
before its first sample that is heard. They go into the header of the finished file. A placeholder that was
written as the title of the track makes room for them: so nothing else in the file moves.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

PLACEHOLDER = "-" * 48
"""Beginning of a track's title, to be removed; longer than what takes its place."""

_SEGMENT, _TRACKS, _ENTRY, _VIDEO = 0x18538067, 0x1654AE6B, 0xAE, 0xE0
_CRC, _VOID, _NAME = 0xBF, 0xEC, 0x536E
_WIDTH, _HEIGHT, _UNIT = 0x54B0, 0x54BA, 0x54B2
_DELAY = 0x56AA
_LONGEST_HEADER = 1 << 20
_Element = tuple[int, bytes]


@dataclass(frozen=True)
class TrackNote:
    """What is said of a track whose title begins with PLACEHOLDER.

    Attributes:
        title: what the track is called afterwards.
        shown: width and height of the shown picture; None: as stored.
        delay: seconds that it holds before what is heard.
    """

    title: str = ""
    shown: tuple[int, int] | None = None
    delay: Fraction = Fraction(0)


def shown_size(width: int, height: int, aspect: Fraction) -> tuple[int, int]:
    """Of a stored picture (pixels) whose pixels are ``aspect`` times as wide as high."""
    return (max(1, round(width * aspect)), height) if aspect >= 1 else (width, round(height / aspect))


def complete_tracks(path: Path, notes: Mapping[int, TrackNote]) -> None:
    """Say more of the tracks of a finished file.

    Args:
        path: .mkv or .webm; changed in place, its length stays.
        notes: number of the track, from 0 -> what is said of it.

    Raises:
        ValueError: the file is no such file, or the title of a track does not begin with PLACEHOLDER.
    """
    with path.open("r+b") as file:
        head = file.read(_LONGEST_HEADER)
        start, size = _tracks(head)
        elements = [(kind, body) for kind, body in _elements(head[start : start + size]) if kind != _CRC]
        entries = [body for kind, body in elements if kind == _ENTRY]
        for number, note in notes.items():
            entries[number] = _entry(entries[number], note)
        made = b"".join(_element(_ENTRY, body) for body in entries)
        made += b"".join(_element(kind, body) for kind, body in elements if kind not in (_ENTRY, _VOID))
        room = size - len(made) - 6  # of the checksum
        # A void element takes two bytes at least, and its length here always two.
        made += _VOID.to_bytes(1, "big") + (0x4000 | (room - 3)).to_bytes(2, "big") + bytes(room - 3)
        checksum = bytes([_CRC, 0x84]) + zlib.crc32(made).to_bytes(4, "little")
        file.seek(start)
        file.write(checksum + made)


def _tracks(head: bytes) -> tuple[int, int]:
    """Place and length of what is in the element that describes the tracks."""
    position = 0
    while position < len(head):
        kind, start, size = _header(head, position)
        if kind == _TRACKS:
            return start, size
        # The segment holds all that follows; everything else is passed over.
        position = start if kind == _SEGMENT else start + size
    raise ValueError("no description of tracks")


def _header(data: bytes, position: int) -> tuple[int, int, int]:
    """(kind, start, length) of the element at ``position``."""
    length = 9 - data[position].bit_length()
    kind = int.from_bytes(data[position : position + length], "big")
    position += length
    length = 9 - data[position].bit_length()
    size = int.from_bytes(data[position : position + length], "big") & ((1 << 7 * length) - 1)
    return kind, position + length, size


def _elements(data: bytes) -> Iterator[_Element]:
    position = 0
    while position < len(data):
        kind, start, size = _header(data, position)
        yield kind, data[start : start + size]
        position = start + size


def _element(kind: int, body: bytes) -> bytes:
    length = next(n for n in range(1, 9) if len(body) < (1 << 7 * n) - 1)
    size = (len(body) | 1 << 7 * length).to_bytes(length, "big")
    return kind.to_bytes((kind.bit_length() + 7) // 8, "big") + size + body


def _entry(body: bytes, note: TrackNote) -> bytes:
    """A track's description with what a note says."""
    elements, shown = list(_elements(body)), note.shown
    if (_NAME, (PLACEHOLDER + note.title).encode()) not in elements:
        raise ValueError("no room in the description of a track")
    made = b""
    if note.delay:
        made += _element(_DELAY, round(note.delay * 1_000_000_000).to_bytes(4, "big"))
    for kind, content in elements:
        if kind == _NAME:
            made += _element(_NAME, note.title.encode()) if note.title else b""
        elif kind == _VIDEO and shown is not None:
            kept = [item for item in _elements(content) if item[0] not in (_WIDTH, _HEIGHT, _UNIT)]
            kept += [(_WIDTH, shown[0].to_bytes(4, "big")), (_HEIGHT, shown[1].to_bytes(4, "big"))]
            made += _element(_VIDEO, b"".join(_element(*item) for item in kept))
        else:
            made += _element(kind, content)
    return made
