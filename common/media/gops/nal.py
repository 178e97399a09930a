"""NAL units, of which streams of H.264 (ITU-T H.264, Annex B) and HEVC (ITU-T H.265) consist."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

_START = b"\0\0\0\1"


@dataclass(frozen=True)
class NalKinds:
    """Types of units.

    Attributes:
        idr: of pictures before which nothing is referred to, and with which parameter sets may change.
        sets: of parameter sets, in the order in which they are given.
        delimiter: of what says that a picture begins, which packets say anyway; it must come first.
    """

    idr: tuple[int, ...]
    sets: tuple[int, ...]
    delimiter: int


KINDS = {"h264": NalKinds((5,), (7, 8), 9), "hevc": NalKinds((19, 20), (32, 33, 34), 35)}
"""By the codec's name: SPS and PPS of H.264, VPS, SPS and PPS of HEVC."""


def kind_of(unit: bytes, codec: str) -> int:
    """The type of a unit."""
    return unit[0] & 31 if codec == "h264" else unit[0] >> 1 & 63


@dataclass(frozen=True)
class NalForm:
    """How the units of a file's packets lie in them, and the parameter sets of the file's header.

    Attributes:
        length_bytes: bytes of the length before each unit; 0: start codes lie between units.
        sets: parameter sets.
    """

    length_bytes: int
    sets: tuple[bytes, ...]

    @classmethod
    def of(cls, header: bytes, codec: str) -> NalForm:
        """Read what containers call extradata: avcC, hvcC (ISO/IEC 14496-15) or units with start codes.

        Raises:
            ValueError: it makes no sense.
        """
        if not header or header[0] != 1:
            return cls(0, tuple(_by_start_codes(header)))
        try:
            if codec == "h264":
                return cls((header[4] & 3) + 1, tuple(_avc_sets(header)))
            return cls((header[21] & 3) + 1, tuple(_hevc_sets(header)))
        except IndexError as error:
            raise ValueError("the header is cut short") from error

    def units(self, packet: bytes) -> list[bytes]:
        """The units of a packet.

        Raises:
            ValueError: their lengths make no sense.
        """
        if not self.length_bytes:
            return list(_by_start_codes(packet))
        found, place = [], 0
        while place < len(packet):
            size = int.from_bytes(packet[place : place + self.length_bytes], "big")
            place += self.length_bytes
            if not 0 < size <= len(packet) - place:
                raise ValueError("a unit is longer than its packet")
            found.append(packet[place : place + size])
            place += size
        return found


def with_start_codes(units: Iterable[bytes]) -> bytes:
    """Units as one stream of bytes (Annex B)."""
    return b"".join(_START + unit for unit in units)


def set_number(unit: bytes) -> int:
    """The number by which slices of H.264 know a parameter set."""
    is_sequence = unit[0] & 31 == 7
    body = unit[1:16].replace(b"\0\0\3", b"\0\0")[3 if is_sequence else 0 :]
    bits = "".join(f"{byte:08b}" for byte in body)
    zeros = bits.index("1") if "1" in bits else 0
    return int(bits[zeros : 2 * zeros + 1] or "1", 2) - 1


def _by_start_codes(data: bytes) -> Iterator[bytes]:
    starts, at = [], data.find(b"\0\0\1")
    while at >= 0:
        starts.append(at + 3)
        at = data.find(b"\0\0\1", at + 3)
    for first, following in pairwise([*starts, len(data) + 3]):
        # No unit ends with a zero; what comes before the next start code does.
        if unit := data[first : following - 3].rstrip(b"\0"):
            yield unit


def _avc_sets(header: bytes) -> Iterator[bytes]:
    place = 5
    for mask in (31, 255):
        count, place = header[place] & mask, place + 1
        for _ in range(count):
            unit, place = _sized(header, place)
            yield unit


def _hevc_sets(header: bytes) -> Iterator[bytes]:
    count, place = header[22], 23
    for _ in range(count):
        units = int.from_bytes(header[place + 1 : place + 3], "big")
        place += 3
        for _ in range(units):
            unit, place = _sized(header, place)
            yield unit


def _sized(header: bytes, place: int) -> tuple[bytes, int]:
    size = int.from_bytes(header[place : place + 2], "big")
    unit = header[place + 2 : place + 2 + size]
    if not size or len(unit) < size:
        raise IndexError
    return unit, place + 2 + size
