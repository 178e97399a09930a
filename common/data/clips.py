"""Prepared clips cut into the clips that trainings see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from common.data.prepared import PreparedClip


@dataclass(frozen=True)
class TrainingClip:
    """A stretch of a prepared clip, from frame ``start`` on; ``key`` names its sample."""

    key: str
    entry: PreparedClip
    start: int


def training_clips(entries: Sequence[PreparedClip], length: int, stride: int) -> list[TrainingClip]:
    """All stretches of ``length`` frames, ``stride`` frames apart (0: ``length``), in the given order."""
    return [
        TrainingClip(clip_key(entry.id, start), entry, start)
        for entry in entries
        for start in clip_starts(entry.frames, length, stride)
    ]


def clip_starts(frames: int, length: int, stride: int) -> range:
    """First frames of the clips cut from `frames` frames; `stride` 0 means `length`; a tail may remain."""
    return range(0, frames - length + 1, stride or length)


def clip_key(entry: str, start: int) -> str:
    """The name of a sample."""
    return f"{entry}_{start:06d}"
