"""Whole media files of many kinds, small, and damages that are drawn from a seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np

from common.media import LOSSLESS, Encoding, VideoWriter, save_flac, save_wav

RATE = 16000
_WIDTH, _HEIGHT, _FRAMES = 96, 64, 24

_VIDEOS = {
    "h264.mp4": Encoding(),
    "hevc.mov": Encoding(codec="libx265"),
    "vp9.webm": Encoding(codec="libvpx-vp9"),
    "av1.mkv": Encoding(codec="libsvtav1"),
    "ffv1.mkv": LOSSLESS,
    "prores.mov": Encoding(codec="prores_ks", pix_fmt="yuv422p10le"),
}
_OLD = {
    "mpeg2.ts": ("mpeg2video", "mp2"),
    "mpeg4.avi": ("mpeg4", "libmp3lame"),
    "h264.flv": ("libx264", "libmp3lame"),
}
_SOUNDS = {
    "speech.mp3": "libmp3lame",
    "speech.ogg": "libopus",
    "speech.m4a": "aac",
}


def whole_files(folder: Path) -> list[Path]:
    """Write one small file of each kind; a video has 24 frames of noise with a bright square, and a tone."""
    folder.mkdir(parents=True, exist_ok=True)
    tone = (0.3 * np.sin(np.arange(RATE) * 0.05)).astype(np.float32)
    save_wav(folder / "speech.wav", tone)
    save_flac(folder / "speech.flac", tone)
    pictures = _pictures()
    for name, encoding in _VIDEOS.items():
        with VideoWriter(
            folder / name, _WIDTH, _HEIGHT, rate=25, encoding=encoding, audio_from=folder / "speech.wav"
        ) as writer:
            for picture in pictures:
                writer.write(picture)
    for name, (video, audio) in _OLD.items():
        _write(folder / name, pictures, video, audio, tone)
    for name, audio in _SOUNDS.items():
        _write(folder / name, None, None, audio, tone)
    return sorted(folder.iterdir())


def _pictures() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    found = []
    for index in range(_FRAMES):
        picture = rng.integers(60, 90, (_HEIGHT, _WIDTH, 3), np.uint8)
        picture[20:40, 10 + index : 30 + index] = 220
        found.append(picture)
    return found


def _write(
    path: Path, pictures: list[np.ndarray] | None, video: str | None, audio: str, tone: np.ndarray
) -> None:
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        sound = cast(
            av.AudioStream,
            container.add_stream(audio, rate=48000 if "opus" in audio else 44100, layout="mono"),
        )
        if video is not None and pictures is not None:
            stream = cast(av.VideoStream, container.add_stream(video, rate=25))
            stream.width, stream.height, stream.pix_fmt = _WIDTH, _HEIGHT, "yuv420p"
            for number, picture in enumerate(pictures):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 25)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        block = av.AudioFrame.from_ndarray(tone[None], format="fltp", layout="mono")
        block.sample_rate, block.pts = RATE, 0
        container.mux(sound.encode(block))
        container.mux(sound.encode(None))


Damage = Callable[[bytearray, random.Random], bytearray]


def _cut(data: bytearray, rng: random.Random) -> bytearray:
    return data[: rng.randrange(1, len(data))]


def _cut_front(data: bytearray, rng: random.Random) -> bytearray:
    return data[rng.randrange(1, len(data)) :]


def _flip(count: int, first: float = 0.0, last: float = 1.0) -> Damage:
    def flip(data: bytearray, rng: random.Random) -> bytearray:
        for _ in range(count):
            place = rng.randrange(
                int(first * len(data)), max(int(first * len(data)) + 1, int(last * len(data)))
            )
            data[place] ^= 1 << rng.randrange(8)
        return data

    return flip


def _zeros(data: bytearray, rng: random.Random) -> bytearray:
    start = rng.randrange(len(data))
    data[start : start + len(data) // 8] = bytes(len(data[start : start + len(data) // 8]))
    return data


def _noise(data: bytearray, rng: random.Random) -> bytearray:
    start = rng.randrange(len(data))
    size = len(data[start : start + len(data) // 8])
    data[start : start + size] = rng.randbytes(size)
    return data


def _twice(data: bytearray, rng: random.Random) -> bytearray:
    place = rng.randrange(len(data))
    return data[:place] + data


def _shuffled(data: bytearray, rng: random.Random) -> bytearray:
    step = max(1, len(data) // 16)
    parts = [data[i : i + step] for i in range(0, len(data), step)]
    rng.shuffle(parts)
    return bytearray(b"".join(parts))


def _large_numbers(data: bytearray, rng: random.Random) -> bytearray:
    """Fields of headers that hold sizes, counts and times become huge."""
    for _ in range(4):
        place = rng.randrange(min(len(data), 4096))
        data[place : place + 4] = rng.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x00\xff\xff\xff"))
    return data


DAMAGES: dict[str, Damage] = {
    "cut short": _cut,
    "beginning missing": _cut_front,
    "one bit flipped in the header": _flip(1, 0, 0.1),
    "20 bits flipped": _flip(20),
    "500 bits flipped": _flip(500),
    "bits flipped at the end": _flip(20, 0.8),
    "a stretch of zeros": _zeros,
    "a stretch of noise": _noise,
    "written twice": _twice,
    "parts in another order": _shuffled,
    "huge numbers in the header": _large_numbers,
}
_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".ts", ".wav", ".mp3", ".flac", ".png", ".txt", "")


def damaged_files(folder: Path, count: int, seed: int) -> list[tuple[str, Path]]:
    """Write ``count`` files, each with one of :data:`DAMAGES` or a wrong ending; kind and path of each.

    The same seed gives the same damages; of files whose encoders give the same bytes, the same files.
    """
    rng = random.Random(seed)
    sources = whole_files(folder / "whole")
    kinds = [*DAMAGES, "wrong ending"]
    found = []
    for number in range(count):
        # Each kind of damage meets each kind of file before any pair comes again.
        source = sources[number % len(sources)]
        kind = kinds[(number // len(sources) + number) % len(kinds)]
        suffix = rng.choice(_SUFFIXES) if kind == "wrong ending" else source.suffix
        path = folder / f"{number:03d}_{source.stem}{suffix}"
        data = bytearray(source.read_bytes())
        path.write_bytes(DAMAGES[kind](data, rng) if kind in DAMAGES else data)
        found.append((kind, path))
    return found
