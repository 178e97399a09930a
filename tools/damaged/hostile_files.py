"""Files that are made to do harm: pictures and times beyond all bounds, streams without end."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Collection
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np

_HUGE = 60_000


def _png(width: int, height: int, rows: int = 0) -> bytes:
    """A black picture of four 16-bit channels that says it has this size; so many rows are really there."""
    packer = zlib.compressobj(1)
    row = bytes(1 + 8 * width)
    packed = b"".join(packer.compress(row) for _ in range(rows)) + packer.flush()

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 16, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def _copied(path: Path, codec: str, packets: list[tuple[int, bytes]], size: tuple[int, int]) -> None:
    """A track of ready packets, (milliseconds, data)."""
    with av.open(str(path), "w") as container:
        stream = cast(av.VideoStream, container.add_stream(codec, rate=25))
        stream.width, stream.height = size
        stream.pix_fmt = "rgba64be"
        container.start_encoding()
        for time, data in packets:
            packet = av.Packet(data)
            packet.pts = packet.dts = time
            packet.time_base, packet.stream = Fraction(1, 1000), stream
            packet.is_keyframe = True
            container.mux(packet)


def huge_pictures(path: Path) -> None:
    """PNG pictures of 60,000 x 60,000 in a file that says 64 x 64."""
    _copied(path, "png", [(40 * i, _png(_HUGE, _HUGE)) for i in range(3)], (64, 64))


def growing_pictures(path: Path) -> None:
    """Small pictures first, then one of 60,000 x 60,000."""
    small = _png(16, 16, 16)
    _copied(path, "png", [(40 * i, small) for i in range(5)] + [(200, _png(_HUGE, _HUGE))], (16, 16))


def large_pictures(path: Path, side: int = 8000) -> None:
    """Whole pictures within the bound of pixels, half a gigabyte each."""
    picture = _png(side, side, side)
    _copied(path, "png", [(40 * i, picture) for i in range(4)], (64, 64))


def gif_bomb(path: Path) -> None:
    """A GIF of 65,535 x 65,535."""
    screen = b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0) + bytes(6)
    image = b"\x2c" + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0) + b"\x02\x02\x4c\x01\x00"
    path.write_bytes(screen + image * 3 + b"\x3b")


def far_apart(path: Path) -> None:
    """Two pictures, the second one 40 days after the first."""
    _copied(path, "png", [(0, _png(16, 16, 16)), (40 * 24 * 3_600_000, _png(16, 16, 16))], (16, 16))


def many_tracks(path: Path) -> None:
    """150 tracks of sound beside one of pictures."""
    with av.open(str(path), "w") as container:
        stream = cast(av.VideoStream, container.add_stream("mpeg4", rate=25))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(150):
            container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def silent_year(path: Path) -> None:
    """Sound with a hole of a year in it."""
    with av.open(str(path), "w") as container:
        stream = cast(av.AudioStream, container.add_stream("pcm_s16le", rate=8000, layout="mono"))
        for start in (0, 365 * 24 * 3600 * 8000):
            block = av.AudioFrame.from_ndarray(
                np.full((1, 800), 1000, np.int16), format="s16p", layout="mono"
            )
            block.sample_rate, block.pts, block.time_base = 8000, start, Fraction(1, 8000)
            container.mux(stream.encode(block))
        container.mux(stream.encode(None))


def endless_wav(path: Path) -> None:
    """A WAV header that says 4 GB, before a file with a hole of 4 GB."""
    header = b"RIFF\xff\xff\xff\xffWAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 8000, 1, 8)
    with path.open("wb") as file:
        file.write(header + b"data\xff\xff\xff\xff")
        file.truncate(4 << 30)


def sparse_video(path: Path) -> None:
    """Ten gigabytes of nothing after the beginning of a transport stream."""
    with path.open("wb") as file:
        file.write((b"\x47\x1f\xff\x10" + bytes(184)) * 100)
        file.truncate(10 << 30)


def list_of_itself(path: Path) -> None:
    """A playlist without end that names itself."""
    entries = f"#EXTINF:10,\n{path.name}\n" * 100
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:10\n" + entries)


def list_of_addresses(path: Path) -> None:
    """A playlist of addresses in the network."""
    path.write_text(
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n"
    )


def pipe(path: Path) -> None:
    """A pipe into which nobody writes."""
    os.mkfifo(path)


def device(path: Path) -> None:
    """A name for zeros without end."""
    path.symlink_to("/dev/zero")


def linked_to_itself(path: Path) -> None:
    """A link that leads to itself."""
    path.symlink_to(path.name)


HOSTILE: dict[str, Callable[[Path], None]] = {
    "huge.mov": huge_pictures,
    "growing.mov": growing_pictures,
    "large.mov": large_pictures,
    "bomb.gif": gif_bomb,
    "apart.nut": far_apart,
    "tracks.mkv": many_tracks,
    "year.mka": silent_year,
    "endless.wav": endless_wav,
    "sparse.ts": sparse_video,
    "itself.m3u8": list_of_itself,
    "itself.mp4": list_of_itself,
    "addresses.m3u8": list_of_addresses,
    "pipe.mp4": pipe,
    "device.mp4": device,
    "link.mp4": linked_to_itself,
}
"""What the files are called, and what makes them."""


def hostile_files(folder: Path, without: Collection[str] = ()) -> list[tuple[str, Path]]:
    """Write :data:`HOSTILE`, all but those named; what each is, and its path."""
    found = []
    for name, make in HOSTILE.items():
        if name in without:
            continue
        make(folder / name)
        found.append(((make.__doc__ or "").splitlines()[0].rstrip("."), folder / name))
    return found
