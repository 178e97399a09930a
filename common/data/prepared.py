"""Prepared entries: one face of one video over one stretch of time, cropped, at the model's rate.

prepared/index.json            the entries of the last run of `prepare`, and what was left out
prepared/videos/<id>.json      one record per video: what made it, its entries, its rejections
prepared/<entry>/crop.mkv      FFV1, crop_size x crop_size, geometry.fps
prepared/<entry>/audio.flac    16 kHz mono, sample 0 = begin of frame 0, exactly frames * 16000 / fps samples
prepared/<entry>/track.safetensors
    landmarks (N, 68, 3) float32, crop pixels (z: same scale, smaller = nearer)
    boxes (N, 4) float32, the crop square in source pixels, xyxy
    source_indices (N,) int64, the source frame each crop was cut from
    levels (N,) float32, dB of full scale, the sound of each frame
    nearest_frames (N,) int64, for each frame the one with the nearest landmarks; only where it was asked for
    occluder (N, S, ceil(S / 8)) uint8, bits packed along the width; only where the video brought a mask
prepared/<entry>/meta.json
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import load_file

from common.errors import UserError
from common.files import read_json
from common.media import SAMPLE_RATE, load_audio, read_frames

PREPARED = "prepared"
"""The folder of prepared clips within the work folder of stage 1."""


@dataclass(frozen=True)
class PreparedTrack:
    """See the module's docstring; `occluder` is (N, S, S) bool or None, `nearest_frames` may be None."""

    landmarks: NDArray[np.float32]
    boxes: NDArray[np.float32]
    source_indices: NDArray[np.int64]
    occluder: NDArray[np.bool_] | None
    nearest_frames: NDArray[np.int64] | None = None


@dataclass(frozen=True, eq=False)
class PreparedClip:
    """A prepared entry on disk; `meta` is its meta.json."""

    folder: Path
    meta: dict[str, Any]

    @property
    def id(self) -> str:
        return str(self.meta["id"])

    @property
    def speaker(self) -> str:
        return str(self.meta["speaker"])

    @property
    def frames(self) -> int:
        return int(self.meta["frames"])

    @property
    def fingerprint(self) -> str:
        return str(self.meta["fingerprint"])

    def crops(self, start: int = 0, count: int | None = None) -> NDArray[np.uint8]:
        """(count, S, S, 3) uint8 RGB."""
        return read_frames(self.folder / "crop.mkv", start, count)

    def audio(self) -> NDArray[np.float32]:
        """(samples,) 16 kHz mono in [-1, 1]."""
        return load_audio(self.folder / "audio.flac", SAMPLE_RATE)

    def levels(self) -> NDArray[np.float32]:
        """(N,) dB of full scale, the level of each frame's sound."""
        with safe_open(self.folder / "track.safetensors", framework="numpy") as track:
            return np.asarray(track.get_tensor("levels"))

    def track(self, start: int = 0, count: int | None = None) -> PreparedTrack:
        """The track of frames [start, start + count)."""
        arrays = load_file(self.folder / "track.safetensors")
        stop = None if count is None else start + count
        landmarks, boxes, indices = (
            arrays[name][start:stop] for name in ("landmarks", "boxes", "source_indices")
        )
        occluder = None
        if "occluder" in arrays:
            occluder = unpack_mask(arrays["occluder"][start:stop])
        nearest = arrays["nearest_frames"][start:stop] if "nearest_frames" in arrays else None
        return PreparedTrack(landmarks, boxes, indices, occluder, nearest)


@dataclass(frozen=True)
class LoadedClip:
    """An entry in memory: crops (N, S, S, 3), track, audio (samples,)."""

    crops: NDArray[np.uint8]
    track: PreparedTrack
    audio: NDArray[np.float32]


class LoadedClips:
    """The entries read last. Commands walk clips in entry order, so that each entry is decoded once."""

    def __init__(self, size: int = 1) -> None:
        self.get = lru_cache(maxsize=size)(self._open)

    @staticmethod
    def _open(entry: PreparedClip) -> LoadedClip:
        return LoadedClip(entry.crops(), entry.track(), entry.audio())


def pack_mask(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """(N, S, S) bool -> (N, S, ceil(S / 8)) uint8."""
    return np.packbits(mask, axis=2)


def unpack_mask(packed: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """The inverse of `pack_mask`."""
    return np.unpackbits(packed, axis=2, count=packed.shape[1]).astype(bool)


def load_prepared(prepared: Path) -> list[PreparedClip]:
    """Entries of the last finished `prepare`, in id order.

    Raises:
        UserError: nothing was prepared, or an entry that the index names is gone.
    """
    index = prepared / "index.json"
    if not index.is_file():
        raise UserError(f"{index} does not exist: run `python -m stage1_generator.prepare` first.")
    entries = [
        PreparedClip(prepared / name, read_json(prepared / name / "meta.json"))
        for name in read_json(index)["entries"]
    ]
    if not entries:
        raise UserError(f"{index} lists no prepared face: see its `rejected` for the reasons.")
    return sorted(entries, key=lambda entry: entry.id)
