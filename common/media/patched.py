"""One sound with a stretch of another one in it, for a video of which a part gets another sound."""

from __future__ import annotations

from collections.abc import Iterator
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


def write_patched(path: Path, own: Source, other: Source, track: int | None, place: SoundPlace) -> None:
    """Write a 24-bit WAV of ``own`` in which ``other`` is heard from ``place.begin`` to ``place.end``.

    It has the rate and the channels of ``own`` and goes on for as long as either. ``other`` begins at
    ``place.zero``; where it is silent, nothing is heard within the stretch. The sounds pass into each other
    within 10 ms.

    Args:
        own: the sound outside of the stretch, its time zero first.
        other: the sound within.
        track: number of the sound track of ``other``; None: the usual one.
        place: of ``other``.

    Raises:
        UserError: a file has no sound.
    """
    with open_source(own, "video") as container:
        context = audio_stream(container, source_name(own)).codec_context
        rate, layout, channels = context.sample_rate, context.layout.name, context.layout.nb_channels
    first = round(place.begin * rate)
    last = None if place.end is None else round(place.end * rate)
    skipped = round(place.zero * rate)
    outer = _Samples(audio_blocks(own, rate, layout, "fltp"), channels, 0)
    inner = _Samples(audio_blocks(other, rate, layout, "fltp", track), channels, skipped)
    step, position = rate * _BLOCK_SECONDS, 0
    fade = max(1, round(_FADE_SECONDS * rate))
    with (
        atomic_path(path) as temporary,
        soundfile.SoundFile(temporary, "w", rate, channels, subtype="PCM_24", format="RF64") as target,
    ):
        while True:
            past = last is not None and position >= last
            count = step if last is None or past else min(step, last - position)
            share = _share(np.arange(position, position + count), first, last, fade)
            mixed = outer.take(count) * (1 - share) + inner.take(count) * share
            if outer.over and (past or inner.over):
                target.write(mixed.T[: max(outer.given, 0 if past else inner.given)])
                return
            target.write(mixed.T)
            position += count


def _share(at: NDArray[np.int64], first: int, last: int | None, fade: int) -> NDArray[np.float32]:
    """How much of the inner sound is heard at samples; it rises and falls within ``fade`` of them."""
    rising = np.ones(len(at)) if first == 0 else (at - first + 1) / fade
    falling = np.ones(len(at)) if last is None else (last - at) / fade
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
