"""Track files with an occluder, written while the clip goes by."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.face import FaceTrack
from common.files import atomic_path

_TYPES = {"float32": "F32", "uint8": "U8"}
_ALIGNMENT = 8


@contextmanager
def occluder_track(
    path: Path, track: FaceTrack, shape: tuple[int, int]
) -> Iterator[Callable[[NDArray[np.uint8]], None]]:
    """Write landmarks, boxes and occluder as common.rendered.clips.write_clip does.

    Yields a function that takes the alpha (H, W) uint8 of the next frame; the file appears at a clean exit.
    The format is safetensors; its library would hold the alpha of all frames in memory, twice.

    Args:
        path: the file.
        track: of the clip, N frames.
        shape: height and width of the pictures.

    Raises:
        ValueError: not as many alphas as frames, or one of another shape.
        UserError: the folder cannot be written.
    """
    points = {"landmarks": track.landmarks, "boxes": track.boxes}
    parts = {name: (values.dtype.name, values.shape, values.nbytes) for name, values in points.items()}
    parts["occluder"] = ("uint8", (len(track), *shape), len(track) * shape[0] * shape[1])
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        stream.write(_header(parts))
        for values in points.values():
            stream.write(np.ascontiguousarray(values).tobytes())
        count = 0

        def append(alpha: NDArray[np.uint8]) -> None:
            nonlocal count
            if alpha.shape != shape or alpha.dtype != np.uint8:
                raise ValueError(f"expected uint8 {shape}, got {alpha.dtype} {alpha.shape}")
            stream.write(alpha.tobytes())
            count += 1

        yield append
        if count != len(track):
            raise ValueError(f"{count} alphas for {len(track)} frames")


def _header(parts: dict[str, tuple[str, tuple[int, ...], int]]) -> bytes:
    """What precedes the data: its length, then JSON, padded so that the data is aligned."""
    known, start = {}, 0
    for name, (kind, shape, size) in parts.items():
        known[name] = {"dtype": _TYPES[kind], "shape": shape, "data_offsets": (start, start + size)}
        start += size
    text = json.dumps(known).encode("ascii")
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text
