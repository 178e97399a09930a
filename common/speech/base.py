"""What every speech encoder promises."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from common.errors import UserError

HOP = 320  # samples per feature: 50 Hz

Audio = npt.NDArray[np.floating[Any]]
Features = npt.NDArray[np.float32]


class SpeechEncoder(Protocol):
    """Sound to features at 50 Hz, two per video frame of the model.

    Attributes:
        name: as in the configuration.
        channels: features per step.
        fingerprint: changes whenever the same sound would give other features.
    """

    @property
    def name(self) -> str: ...

    @property
    def channels(self) -> int: ...

    @property
    def fingerprint(self) -> str: ...

    def encode(self, audio: Audio) -> Features:
        """(samples,) in [-1, 1] at 16 kHz -> (ceil(samples / 320), channels); raises UserError when empty."""
        ...


def feature_count(samples: int) -> int:
    """Features of a recording of so many samples: the last one may cover less than 20 ms."""
    return -(-samples // HOP)


def check_audio(audio: Audio) -> npt.NDArray[np.float32]:
    """The samples as contiguous float32, or an error that says why they are none."""
    if audio.ndim != 1:
        raise ValueError(f"audio is {audio.shape}, not (samples,): mix it down to mono first")
    if audio.size == 0:
        raise UserError("The audio has no samples: give a recording that is longer than zero.")
    audio = np.ascontiguousarray(audio, dtype=np.float32)
    if not np.isfinite(audio).all():
        raise UserError("The audio holds samples that are no numbers (NaN or infinity): export it again.")
    return audio
