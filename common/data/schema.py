"""One training sample: its parts and their encoding as members of a tar (docs/data.md).

Parts are decoded when first asked for, so that training on cached latents never reads the videos.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.torch
import soundfile
import torch
from torch import Tensor

from common.errors import UserError
from common.face.mouth import LIP_SHAPE
from common.geometry import frames_to_latents
from common.media import SAMPLE_RATE

META = "meta.json"
TARGET = "target.mkv"
SOURCE = "source.mkv"
AUDIO = "audio.flac"
SOURCE_AUDIO = "source_audio.flac"
ARRAYS = "arrays.safetensors"
CACHE = "cache.safetensors"
MEMBERS = (META, TARGET, SOURCE, AUDIO, SOURCE_AUDIO, ARRAYS, CACHE)  # the order inside a tar

RELIABILITY, LIP_SHAPES = "reliability", "lip_shapes"
POOLED = ("lip_mask", "face_mask", "lower_face_mask", RELIABILITY)
"""Arrays on the latent grid."""
LATENTS = ("target_latents", "source_latents", "masked_latents")

Frames = npt.NDArray[np.uint8]
ReadMember = Callable[[], bytes]


class Sample:
    """A sample whose parts are decoded on first use; asking for a part that it lacks raises UserError.

    Attributes:
        key: unique name within the set.
        meta: JSON object; always has ``frames`` and ``fps``.
        target: (N, S, S, 3) uint8 RGB, the real clip.
        source: (N, S, S, 3) uint8 RGB, the companion with other lips (pairs only).
        audio: (samples,) float32 in [-1, 1], 16 kHz mono, the target's own sound.
        source_audio: what the lips of the source say, in that format, where it is known.
        arrays: name -> tensor, per-frame landmarks and masks.
        cache: name -> tensor, what encoders made of the above.
        cache_fingerprint: what made the cache.
    """

    def __init__(self, key: str, members: Mapping[str, ReadMember]) -> None:
        self.key = key
        self._members = members

    def has(self, member: str) -> bool:
        return member in self._members

    @cached_property
    def meta(self) -> dict[str, Any]:
        return dict(json.loads(self._read(META)))

    @cached_property
    def target(self) -> Frames:
        return decode_video(self._read(TARGET))

    @cached_property
    def source(self) -> Frames:
        return decode_video(self._read(SOURCE))

    @cached_property
    def audio(self) -> npt.NDArray[np.float32]:
        return self._sound(AUDIO)

    @cached_property
    def source_audio(self) -> npt.NDArray[np.float32]:
        return self._sound(SOURCE_AUDIO)

    def _sound(self, member: str) -> npt.NDArray[np.float32]:
        audio, rate = soundfile.read(io.BytesIO(self._read(member)), dtype="float32")
        if rate != SAMPLE_RATE or audio.ndim != 1:
            raise UserError(f"The audio of sample {self.key} is not mono at {SAMPLE_RATE} Hz: make it again.")
        found: npt.NDArray[np.float32] = audio
        return found

    @cached_property
    def arrays(self) -> dict[str, Tensor]:
        return safetensors.torch.load(self._read(ARRAYS))

    @cached_property
    def cache(self) -> dict[str, Tensor]:
        return safetensors.torch.load(self._read(CACHE))

    @cached_property
    def cache_fingerprint(self) -> str:
        data = self._read(CACHE)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        return str(header.get("__metadata__", {}).get("fingerprint", ""))

    def _read(self, member: str) -> bytes:
        if member not in self._members:
            raise UserError(f"The sample {self.key} has no {member}: run the step again that adds it.")
        return self._members[member]()


def encode_sample(
    meta: Mapping[str, Any],
    *,
    target: Frames | None = None,
    source: Frames | None = None,
    audio: npt.NDArray[np.floating[Any]] | None = None,
    source_audio: npt.NDArray[np.floating[Any]] | None = None,
    arrays: Mapping[str, Any] | None = None,
    cache: Mapping[str, Any] | None = None,
    cache_fingerprint: str = "",
) -> dict[str, bytes]:
    """Members of one sample, in the order of ``MEMBERS``; equal input gives equal bytes.

    Args:
        meta: JSON object with at least ``frames`` and ``fps``.
        target, source: (N, S, S, 3) uint8 RGB at the model's rate; stored without loss.
        audio, source_audio: (samples,) in [-1, 1], 16 kHz mono; stored in 16 bits.
        arrays, cache: name -> numpy array or tensor; the known names are checked against docs/data.md.
        cache_fingerprint: what made ``cache``.

    Raises:
        ValueError: a part does not have the documented shape.
    """
    for name in ("frames", "fps"):
        if name not in meta:
            raise ValueError(f"meta lacks {name!r}")
    frames = int(meta["frames"])
    members = {META: json.dumps(dict(meta), sort_keys=True, indent=1, allow_nan=False).encode()}
    for member, video in ((TARGET, target), (SOURCE, source)):
        if video is not None:
            if video.shape[0] != frames or video.shape[1] != video.shape[2]:
                raise ValueError(f"{member} is {video.shape}, not {frames} square frames")
            members[member] = encode_video(video, float(meta["fps"]))
    for member, sound in ((AUDIO, audio), (SOURCE_AUDIO, source_audio)):
        if sound is not None:
            members[member] = _encode_audio(sound)
    if arrays is not None:
        members[ARRAYS] = _encode_tensors(_check_arrays(_tensors(arrays), frames))
    if cache is not None:
        members[CACHE] = _encode_tensors(_check_cache(_tensors(cache), frames), cache_fingerprint)
    return members


def decode_sample(key: str, members: Mapping[str, bytes]) -> Sample:
    """A sample from members that are already in memory, e.g. from plain WebDataset code."""

    def reader(data: bytes) -> ReadMember:
        return lambda: data

    return Sample(key, {name: reader(data) for name, data in members.items()})


def encode_video(frames: Frames, fps: float) -> bytes:
    """(N, H, W, 3) uint8 RGB -> FFV1 in Matroska, without loss."""
    from common.media import LOSSLESS, write_video  # decoding libraries load only where videos are touched

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mkv"
        write_video(path, frames, rate=fps, encoding=LOSSLESS)
        return path.read_bytes()


def decode_video(data: bytes) -> Frames:
    """Inverse of :func:`encode_video`."""
    from common.media import read_frames

    # In memory: no file and no decoding process, which costs more than the few frames of a window.
    return read_frames(io.BytesIO(data))


def _encode_audio(audio: npt.NDArray[np.floating[Any]]) -> bytes:
    if audio.ndim != 1:
        raise ValueError(f"audio is {audio.shape}, not (samples,)")
    stream = io.BytesIO()
    soundfile.write(stream, np.clip(audio, -1.0, 1.0), SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return stream.getvalue()


def _tensors(values: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: torch.as_tensor(value).detach().cpu().contiguous() for name, value in values.items()}


def _encode_tensors(tensors: dict[str, Tensor], fingerprint: str = "") -> bytes:
    # One metadata entry at most: with more, safetensors writes them in random order.
    return safetensors.torch.save(tensors, metadata={"fingerprint": fingerprint} if fingerprint else None)


def _check_arrays(arrays: dict[str, Tensor], frames: int) -> dict[str, Tensor]:
    for name, value in arrays.items():
        if name.endswith("landmarks") and tuple(value.shape) != (frames, 68, 3):
            raise ValueError(f"{name} is {tuple(value.shape)}, not ({frames}, 68, 3)")
        if name == LIP_SHAPES and tuple(value.shape) != (frames, len(LIP_SHAPE)):
            raise ValueError(f"{name} is {tuple(value.shape)}, not ({frames}, {len(LIP_SHAPE)})")
        if name in POOLED:
            if value.ndim != 3 or value.shape[0] != frames_to_latents(frames):
                raise ValueError(f"{name} is {tuple(value.shape)}, not ({frames_to_latents(frames)}, h, w)")
            arrays[name] = value.to(torch.uint8)
    return arrays


def _check_cache(cache: dict[str, Tensor], frames: int) -> dict[str, Tensor]:
    latents = frames_to_latents(frames)
    for name in LATENTS:
        if name in cache and (cache[name].ndim != 4 or cache[name].shape[1] != latents):
            raise ValueError(f"{name} is {tuple(cache[name].shape)}, not (C, {latents}, h, w)")
    references = cache.get("reference_latents")
    if references is not None and (references.ndim != 5 or references.shape[2] != 1):
        raise ValueError(f"reference_latents is {tuple(references.shape)}, not (M, C, 1, h, w)")
    features = cache.get("audio_features")
    if features is not None:
        margin = features.shape[0] - 2 * frames
        # Equal margins of whole video frames on both sides: that is how readers find the clip's beginning.
        if features.ndim != 2 or margin < 0 or margin % 4:
            raise ValueError(f"audio_features is {tuple(features.shape)}, not (2 * {frames} + 4 * margin, C)")
    return cache
