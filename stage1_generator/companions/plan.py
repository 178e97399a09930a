"""Which clips get a companion, and whose speech drives it: a pure function of the entries and a seed."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.data.clips import clip_key, clip_starts
from stage1_generator.footage.voice import voiced_share


@dataclass(frozen=True)
class Stretch:
    """Frames [start, start + length) of one prepared entry (25 fps)."""

    entry: str
    start: int


@dataclass(frozen=True)
class Speakable:
    """What the plan must know of one entry.

    Attributes:
        source: content hash of the video; with `offset` it tells overlaps also between entries of one video.
        offset: the entry's first frame within the video, at the model's rate.
        voiced: (frames,) bool.
    """

    entry: str
    speaker: str
    source: str
    offset: int
    voiced: NDArray[np.bool_]


@dataclass(frozen=True)
class PairPlan:
    """One clip of stage 2 and the speech that its companion gets.

    Attributes:
        key: name of the sample.
        speech: None means silence.
    """

    key: str
    entry: str
    start: int
    length: int
    speech: Stretch | None


@dataclass(frozen=True)
class Unpaired:
    """A clip that gets no companion, and why."""

    key: str
    reason: str


def clip_seed(seed: int, key: str, purpose: str) -> int:
    """A 63-bit seed of one clip: what is drawn does not depend on other clips or on the order of work."""
    digest = hashlib.sha256(f"{seed}\n{key}\n{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def plan_pairs(
    entries: Sequence[Speakable],
    *,
    length: int,
    stride: int = 0,
    seed: int = 0,
    silence_fraction: float = 0.07,
    voiced_min: float = 0.5,
    other_speakers: bool = False,
    per_speaker: int = 0,
) -> tuple[list[PairPlan], list[Unpaired]]:
    """Cut clips and give each other speech of the same speaker, or silence (G, docs/notation.md §4).

    A clip's choice depends on the seed, its key and the set of entries of its speaker, not on their order.

    Args:
        length: frames of a clip.
        stride: frames from one clip to the next (0 = length).
        silence_fraction: share of clips that get silence; drawn per clip.
        voiced_min: least voiced share of a stretch.
        other_speakers: take another speaker's stretch where the speaker has none.
        per_speaker: most clips of one speaker, drawn evenly (0 = all).

    Returns:
        plans and clips without a companion, both in key order.
    """
    by_speaker: Mapping[str, list[_Voice]] = _voices(entries, length, voiced_min)
    plans: list[PairPlan] = []
    unpaired: list[Unpaired] = []
    lengths = [(entry.entry, entry.speaker, len(entry.voiced)) for entry in entries]
    chosen = chosen_clips(lengths, length, stride, seed, per_speaker)
    for entry in sorted(entries, key=lambda item: item.entry):
        for start in clip_starts(len(entry.voiced), length, stride):
            key = clip_key(entry.entry, start)
            if key not in chosen:
                reason = f"the speaker {entry.speaker} has {per_speaker} others (pairs.per_speaker)"
                unpaired.append(Unpaired(key, reason))
                continue
            random = np.random.default_rng(clip_seed(seed, key, "speech"))
            if random.random() < silence_fraction:
                plans.append(PairPlan(key, entry.entry, start, length, None))
                continue
            stretch = _choose(by_speaker.get(entry.speaker, []), entry, start, length, random)
            if stretch is None and other_speakers:
                others = [v for name in sorted(by_speaker) if name != entry.speaker for v in by_speaker[name]]
                stretch = _choose(others, entry, start, length, random)
            if stretch is None:
                unpaired.append(Unpaired(key, f"no other stretch of speech by speaker {entry.speaker}"))
            else:
                plans.append(PairPlan(key, entry.entry, start, length, stretch))
    return plans, unpaired


def chosen_clips(
    entries: Iterable[tuple[str, str, int]], length: int, stride: int, seed: int, per_speaker: int
) -> dict[str, tuple[str, int]]:
    """Clips that are to be used: of each speaker those with the lowest draws.

    Args:
        entries: (id, speaker, frames) of each.
        per_speaker: most clips of one speaker (0 = all).

    Returns:
        (entry, first frame) of each, by the clip's key.
    """
    clips: dict[str, dict[str, tuple[str, int]]] = defaultdict(dict)
    for entry, speaker, frames in entries:
        for start in clip_starts(frames, length, stride):
            clips[speaker][clip_key(entry, start)] = (entry, start)
    chosen: dict[str, tuple[str, int]] = {}
    for own in clips.values():
        keys = sorted(own, key=lambda key: clip_seed(seed, key, "chosen")) if per_speaker else list(own)
        chosen |= {key: own[key] for key in keys[: per_speaker or None]}
    return chosen


@dataclass(frozen=True)
class _Voice:
    """An entry's possible starts, sorted."""

    owner: Speakable
    starts: NDArray[np.int64]


def _voices(entries: Sequence[Speakable], length: int, voiced_min: float) -> dict[str, list[_Voice]]:
    voices: dict[str, list[_Voice]] = defaultdict(list)
    for entry in sorted(entries, key=lambda item: item.entry):
        starts = np.flatnonzero(voiced_share(entry.voiced, length) >= voiced_min)
        if len(starts):
            voices[entry.speaker].append(_Voice(entry, starts))
    return voices


def _choose(
    voices: Sequence[_Voice], clip: Speakable, start: int, length: int, random: np.random.Generator
) -> Stretch | None:
    """Draw evenly among all admissible starts; None where there is none."""
    choices = [_apart(voice, clip, start, length) for voice in voices]
    counts = np.array([len(choice) for choice in choices], np.int64)
    if not counts.sum():
        return None
    draw = int(random.integers(counts.sum()))
    which = int(np.searchsorted(np.cumsum(counts), draw, side="right"))
    place = draw - int(counts[:which].sum())
    return Stretch(voices[which].owner.entry, int(choices[which][place]))


def _apart(voice: _Voice, clip: Speakable, start: int, length: int) -> NDArray[np.int64]:
    """Starts whose stretch shares no frame of the source video with the clip."""
    if voice.owner.source != clip.source:
        return voice.starts
    here = clip.offset + start
    there = voice.owner.offset + voice.starts
    return voice.starts[np.abs(there - here) >= length]
