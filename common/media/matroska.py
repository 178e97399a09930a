"""The shape of pixels in Matroska and WebM files, which FFmpeg's writer leaves out where a codec says none.

The sizes of the shown picture go into the header of the finished file. A placeholder that was written as the
title of the picture track makes room for them: so nothing else in the file moves.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

PLACEHOLDER = "-" * 48
"""Beginning of the picture track's title, to be removed; longer than what takes its place."""

_SEGMENT, _TRACKS, _ENTRY, _VIDEO = 0x18538067, 0x1654AE6B, 0xAE, 0xE0
_CRC, _VOID, _NAME = 0xBF, 0xEC, 0x536E
_WIDTH, _HEIGHT, _UNIT = 0x54B0, 0x54BA, 0x54B2
_LONGEST_HEADER = 1 << 20
_Element = tuple[int, bytes]


def set_pixel_aspect(path: Path, width: int, height: int, aspect: Fraction, title: str = "") -> None:
    """Say the shape of pixels in a finished file whose picture track's title begins with PLACEHOLDER.

    Args:
        path: .mkv or .webm; changed in place, its length stays.
        width, height: pixels of the stored picture.
        aspect: width of a pixel over its height.
        title: what the track is called afterwards.

    Raises:
        ValueError: the file is no such file.
    """
    with path.open("r+b") as file:
        head = file.read(_LONGEST_HEADER)
        start, size = _tracks(head)
        elements = [(kind, body) for kind, body in _elements(head[start : start + size]) if kind != _CRC]
        shown = (max(1, round(width * aspect)), height) if aspect >= 1 else (width, round(height / aspect))
        made = b"".join(
            _element(kind, _entry(body, shown, title)) for kind, body in elements if kind == _ENTRY
        )
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


def _entry(body: bytes, shown: tuple[int, int], title: str) -> bytes:
    """A track's description; that of the picture track with the sizes of the shown picture."""
    elements = list(_elements(body))
    if (_NAME, (PLACEHOLDER + title).encode()) not in elements:
        return body
    made = b""
    for kind, content in elements:
        if kind == _NAME:
            made += _element(_NAME, title.encode()) if title else b""
        elif kind == _VIDEO:
            kept = [item for item in _elements(content) if item[0] not in (_WIDTH, _HEIGHT, _UNIT)]
            kept += [(_WIDTH, shown[0].to_bytes(4, "big")), (_HEIGHT, shown[1].to_bytes(4, "big"))]
            made += _element(_VIDEO, b"".join(_element(*item) for item in kept))
        else:
            made += _element(kind, content)
    return made
