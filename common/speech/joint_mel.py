"""The log-mel spectrogram that LTX-2's autoencoder of sound takes, as speech features."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from common.files import fingerprint
from common.media import SAMPLE_RATE
from common.speech.base import HOP, Audio, Features, SilenceRule, check_audio, feature_count
from common.speech.config import SpeechConfig
from common.speech.mel import mel_corners, mel_filters

if TYPE_CHECKING:
    import torch

BANDS = 64
FFT = 1024
MEL_HOP = 160
MEL_RATE = SAMPLE_RATE // MEL_HOP
FRAMES_PER_FEATURE = HOP // MEL_HOP
FLOOR = 1e-5

_BLOCK = 4096  # spectra per block: bounds the memory of long recordings


class JointMelEncoder:
    """Two frames of 64 log-mel bands per feature: the spectrogram has 100 frames per second.

    Frame i is centred on sample 160 i: a Hann window of 1024 samples, magnitudes, triangles of Slaney's scale
    from 0 to 8 kHz with equal areas, and the natural logarithm of what is at least 1e-5. The sound is not
    brought to a level, as LTX-2 does not either. The first window mirrors the recording.
    """

    name = "ltx2-mel"
    channels = FRAMES_PER_FEATURE * BANDS
    silence = SilenceRule.together
    travels = False  # there are no weights
    chunkings = ("overlap",)  # blocks: every frame depends on its own 64 ms alone
    floor = float(np.log(FLOOR))

    @property
    def fingerprint(self) -> str:
        return fingerprint(["ltx2-mel", 1, BANDS, FFT, MEL_HOP, FLOOR])

    @classmethod
    def of(cls, config: SpeechConfig, device: torch.device | str) -> JointMelEncoder:
        return cls()

    @classmethod
    def fingerprint_of(cls, config: SpeechConfig) -> str:
        return cls().fingerprint

    def encode(self, audio: Audio) -> Features:
        """(samples,) at 16 kHz -> (ceil(samples / 320), 128): two frames each."""
        samples = check_audio(audio)
        count = feature_count(len(samples))
        frames = FRAMES_PER_FEATURE * count
        half = FFT // 2
        padded = np.zeros(MEL_HOP * (frames - 1) + FFT, np.float32)
        mirrored = samples[1 : half + 1][::-1]
        padded[half - len(mirrored) : half] = mirrored
        kept = samples[: len(padded) - half]
        padded[half : half + len(kept)] = kept
        pieces = np.lib.stride_tricks.sliding_window_view(padded, FFT)[::MEL_HOP]
        blocks = []
        for start in range(0, frames, _BLOCK):
            magnitudes = np.abs(np.fft.rfft(pieces[start : start + _BLOCK] * self._window))
            mel = magnitudes.astype(np.float32) @ self.filters
            blocks.append(np.log(np.maximum(mel, FLOOR)))
        return np.concatenate(blocks).reshape(count, self.channels).astype(np.float32)

    @cached_property
    def _window(self) -> npt.NDArray[np.float32]:
        return np.hanning(FFT + 1)[:-1].astype(np.float32)

    @cached_property
    def filters(self) -> npt.NDArray[np.float32]:
        """(513, 64): what every frequency adds to every band."""
        high = SAMPLE_RATE / 2
        corners = mel_corners(BANDS, 0.0, high)
        bank = mel_filters(FFT // 2 + 1, BANDS, 0.0, high)
        return (bank * 2 / (corners[2:] - corners[:-2])).astype(np.float32)


def mel_window(features: npt.NDArray[np.float32], seconds: float, frames: int) -> npt.NDArray[np.float32]:
    """(frames, 64) of the spectrogram from ``seconds`` on; silence where the recording does not reach.

    Args:
        features: (T, 128) of :class:`JointMelEncoder`.
        seconds: not below 0; the nearest frame is the first.
        frames: at 100 per second.
    """
    first = round(seconds * MEL_RATE)
    mel = features.reshape(-1, BANDS)[first : first + frames]
    missing = frames - len(mel)
    return np.pad(mel, ((0, missing), (0, 0)), constant_values=JointMelEncoder.floor) if missing else mel
