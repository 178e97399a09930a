"""What every speech encoder promises."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from common.errors import UserError
from common.speech.config import SpeechConfig

if TYPE_CHECKING:
    import torch

HOP = 320  # samples per feature: 50 Hz

Audio = npt.NDArray[np.floating[Any]] | npt.NDArray[np.int16]
"""Floats in [-1, 1], or the same times 32768 in 16 bits, which takes half of the memory."""
Features = npt.NDArray[np.float32]


class SilenceRule(str, Enum):
    """How an encoder is told of silence after a recording."""

    together = "together"
    """It is appended to the sound: features depend on the sound about them alone, so that only the end of the
    speech hears it."""
    apart = "apart"
    """It is encoded by itself and its features follow: the encoder hears the whole recording at once, and
    appended silence would change the features of the speech by up to 30 %."""
    own = "own"
    """The encoder appends its own, as its weights' publisher does."""


class SpeechEncoder(Protocol):
    """Sound to features at 50 Hz, two per video frame of the model.

    Attributes:
        name: as in the configuration.
        channels: features per step.
        fingerprint: changes whenever the same sound would give other features.
        silence: how it is told of silence after a recording.
    """

    @property
    def name(self) -> str: ...

    @property
    def silence(self) -> SilenceRule: ...

    @property
    def channels(self) -> int: ...

    @property
    def fingerprint(self) -> str: ...

    def encode(self, audio: Audio) -> Features:
        """(samples,) in [-1, 1] at 16 kHz -> (ceil(samples / 320), channels); raises UserError when empty."""
        ...


class RegisteredEncoder(SpeechEncoder, Protocol):
    """What a class in :data:`common.speech.registry.ENCODERS` promises besides: what is known without one.

    Attributes:
        travels: whether its weights are small enough to lie in every package that was trained on them.
        chunkings: values of ``speech.chunking`` that it knows. "overlap" is a must: recordings of any length
            in bounded memory and without a seam.
    """

    travels: ClassVar[bool]
    chunkings: ClassVar[tuple[str, ...]]

    @classmethod
    def of(cls, config: SpeechConfig, device: torch.device | str) -> SpeechEncoder:
        """The encoder with the weights in ``config.path``; raises UserError where there are none."""
        ...

    @classmethod
    def fingerprint_of(cls, config: SpeechConfig) -> str:
        """What :meth:`of` would call itself, without loading weights; raises UserError like it."""
        ...


def feature_count(samples: int) -> int:
    """Features of a recording of so many samples: the last one may cover less than 20 ms."""
    return -(-samples // HOP)


def check_samples(audio: Audio) -> Audio:
    """The samples as they are, or an error: an array of another shape, or an empty one."""
    if audio.ndim != 1:
        raise ValueError(f"audio is {audio.shape}, not (samples,): mix it down to mono first")
    if audio.size == 0:
        raise UserError("The audio has no samples: give a recording that is longer than zero.")
    return audio


def as_floats(audio: Audio) -> npt.NDArray[np.float32]:
    """(samples,) contiguous float32 in [-1, 1]."""
    floats = np.ascontiguousarray(audio, dtype=np.float32)
    if audio.dtype == np.int16:
        floats /= 32768  # a copy: its kind is another one
    return floats


def check_audio(audio: Audio) -> npt.NDArray[np.float32]:
    """The samples as contiguous float32, or an error that says why they are none."""
    audio = as_floats(check_samples(audio))
    if not np.isfinite(audio).all():
        raise UserError("The audio holds samples that are no numbers (NaN or infinity): export it again.")
    return audio
