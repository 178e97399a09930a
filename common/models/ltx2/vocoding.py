"""Sound from a spectrogram that comes piece by piece; memory holds two seconds of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

from common.files import atomic_path
from common.models.ltx2.codecs import JointVocoder
from common.speech.joint_mel import MEL_RATE

CONTEXT = MEL_RATE // 2
"""Frames of the spectrogram that a vocoder is shown before and after those whose sound is taken: more than
its convolutions reach."""
_FADE_SECONDS = 0.01


def vocoded(pieces: Iterable[torch.Tensor], vocoder: JointVocoder) -> Iterator[NDArray[np.float32]]:
    """(2, samples) after (2, samples) at the vocoder's rate, of a spectrogram (2, T, 64) after (2, T, 64).

    What is made of neighbouring pieces passes into each other within 10 ms.
    """
    hop = vocoder.rate // MEL_RATE
    fade = round(_FADE_SECONDS * vocoder.rate)
    rising = np.linspace(0, 1, fade, dtype=np.float32)
    seen: torch.Tensor | None = None
    tail = np.zeros((2, 0), np.float32)
    done = 0  # frames of what is seen whose sound is made

    def made(stop: int | None) -> NDArray[np.float32]:
        assert seen is not None
        sound = vocoder(seen[None])[0].cpu().numpy()[:, done * hop : stop]
        if tail.shape[1]:
            sound[:, :fade] = tail * (1 - rising) + sound[:, :fade] * rising
        return sound

    for piece in pieces:
        seen = piece if seen is None else torch.cat((seen, piece), dim=1)
        ready = seen.shape[1] - CONTEXT
        if ready - done <= CONTEXT:
            continue
        sound = made(ready * hop + fade)
        yield sound[:, :-fade]
        tail = sound[:, -fade:]
        seen, done = seen[:, ready - CONTEXT :], CONTEXT
    if seen is not None:
        yield made(None)


def write_sound(path: Path, pieces: Iterable[torch.Tensor], vocoder: JointVocoder) -> None:
    """Write :func:`vocoded` to a 24-bit WAV, whole or not at all."""
    with (
        atomic_path(path) as temporary,
        soundfile.SoundFile(temporary, "w", vocoder.rate, 2, subtype="PCM_24", format="WAV") as target,
    ):
        for sound in vocoded(pieces, vocoder):
            target.write(np.clip(sound, -1, 1).T)
