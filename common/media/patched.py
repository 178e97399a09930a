"""One sound with stretches of others in it, for a video of which parts get another sound."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from common.files import atomic_path
from common.media.audio import audio_blocks, audio_stream
from common.media.soundtrack import SoundPlace
from common.media.source import Source, open_source, source_name

_FADE_SECONDS = 0.01
_BLOCK_SECONDS = 1


@dataclass(frozen=True)
class SoundPatch:
    """A sound that is heard for a while instead of another one.

    Attributes:
        source: the file.
        place: where it lies, and from when to when it is heard.
        track: number of the file's sound track; None: the usual one.
    """

    source: Source
    place: SoundPlace
    track: int | None = None


def write_patched(path: Path, own: Source | None, patches: Sequence[SoundPatch]) -> None:
    """Write a 24-bit WAV of ``own`` in which ``patches`` are heard instead, together where they overlap.

    Within a patch's stretch nothing of ``own`` is heard, also where the patch is silent. It goes on for as
    long as any of the sounds. They pass into each other within 10 ms. What is too loud together is clipped.

    Args:
        path: the file to write.
        own: the sound outside of the patches, its time zero first; None: silence.
        patches: at least one where there is no ``own``.

    Raises:
        UserError: a file has no sound.
    """
    rate, layout, channels = _form(
        [(own, None)] if own is not None else [(p.source, p.track) for p in patches]
    )
    outer = None if own is None else _Samples(audio_blocks(own, rate, layout, "fltp"), channels, 0)
    inner = [_HeardPatch(patch, rate, layout, channels) for patch in patches]
    step, position = rate * _BLOCK_SECONDS, 0
    with (
        atomic_path(path) as temporary,
        soundfile.SoundFile(temporary, "w", rate, channels, subtype="PCM_24", format="RF64") as target,
    ):
        while True:
            # No block goes across the beginning or end of a patch.
            edges = [edge for patch in inner for edge in patch.edges if edge > position]
            count = min([step, *(edge - position for edge in edges)])
            mixed = np.zeros((channels, count), np.float32)
            covered, given = np.zeros(count, np.float32), 0
            for patch in inner:
                if patch.is_heard(position):
                    share = patch.share(np.arange(position, position + count))
                    mixed += patch.samples.take(count) * share
                    covered, given = np.maximum(covered, share), max(given, patch.samples.given)
            if outer is not None:
                mixed += outer.take(count) * (1 - covered)
                given = max(given, outer.given)
            if (outer is None or outer.over) and all(patch.is_over(position) for patch in inner):
                target.write(mixed.T[:given])
                return
            target.write(mixed.T)
            position += count


def _form(sources: Sequence[tuple[Source, int | None]]) -> tuple[int, str, int]:
    """The highest rate of sounds, and the layout with most channels and how many these are."""
    rates, layouts = [], []
    for source, track in sources:
        with open_source(source, "audio") as container:
            context = audio_stream(container, source_name(source), track).codec_context
            rates.append(context.sample_rate)
            layouts.append((context.layout.nb_channels, context.layout.name))
    channels, layout = max(layouts)
    return max(rates), layout, channels


class _HeardPatch:
    """A patch while it is heard; its file is open for as long."""

    def __init__(self, patch: SoundPatch, rate: int, layout: str, channels: int) -> None:
        self._patch, self._form = patch, (rate, layout, channels)
        self._first = round(patch.place.begin * rate)
        self._last = None if patch.place.end is None else round(patch.place.end * rate)
        self._fade = max(1, round(_FADE_SECONDS * rate))
        self._open: _Samples | None = None

    @property
    def edges(self) -> tuple[int, ...]:
        """Samples at which it begins and ends."""
        return (self._first,) if self._last is None else (self._first, self._last)

    @property
    def samples(self) -> _Samples:
        """Its sound from its beginning on."""
        if self._open is None:
            rate, layout, channels = self._form
            blocks = audio_blocks(self._patch.source, rate, layout, "fltp", self._patch.track)
            self._open = _Samples(blocks, channels, round(self._patch.place.zero * rate) - self._first)
        return self._open

    def is_heard(self, position: int) -> bool:
        """Whether a block that begins at ``position`` is within its stretch; after it the file is closed."""
        if self._last is not None and position >= self._last:
            self._open = None
            return False
        return position >= self._first

    def is_over(self, position: int) -> bool:
        """Whether nothing of it comes after the block that began at ``position``."""
        if self._last is not None and position >= self._last:
            return True
        return self._open is not None and self._open.over

    def share(self, at: NDArray[np.int64]) -> NDArray[np.float32]:
        """How much of it is heard at samples; it rises and falls within 10 ms."""
        rising = np.ones(len(at)) if self._first == 0 else (at - self._first + 1) / self._fade
        falling = np.ones(len(at)) if self._last is None else (self._last - at) / self._fade
        return np.clip(np.minimum(rising, falling), 0, 1).astype(np.float32)


class _Samples:
    """The samples of a sound, so many at a time, with silence after its end.

    Args:
        blocks: (channels, samples) of it.
        channels: how many.
        begins: samples of silence before it, or, negative, samples of it that are left out.
    """

    def __init__(self, blocks: Iterator[NDArray[np.float32]], channels: int, begins: int) -> None:
        self._blocks, self._channels = blocks, channels
        self._left = np.zeros((channels, max(0, begins)), np.float32)
        self._skip = max(0, -begins)
        self.over = False
        """Whether all of it was given."""
        self.given = 0
        """How many samples of it were in what was given last."""

    def take(self, count: int) -> NDArray[np.float32]:
        """(channels, ``count``)."""
        parts, have = [self._left], self._left.shape[1]
        while have < count and not self.over:
            block = next(self._blocks, None)
            if block is None:
                self.over = True
                break
            dropped = min(self._skip, block.shape[1])
            block, self._skip = block[:, dropped:], self._skip - dropped
            parts.append(block)
            have += block.shape[1]
        joined = np.concatenate(parts, axis=1)
        found, self._left = joined[:, :count], joined[:, count:]
        self.given = found.shape[1]
        return np.pad(found, ((0, 0), (0, count - self.given)))
