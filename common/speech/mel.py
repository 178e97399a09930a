"""Log-mel features: no weights, no download, the default of small models."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from common.files import fingerprint
from common.media import SAMPLE_RATE
from common.speech.base import (
    HOP,
    Audio,
    Features,
    SilenceRule,
    as_floats,
    check_audio,
    check_samples,
    feature_count,
)
from common.speech.config import SpeechConfig

if TYPE_CHECKING:
    import torch

BANDS = 80
WINDOW = 512  # 32 ms Hann
FFT = 1024  # zero-padded, so that the narrow low bands still hold several bins
LOW_HZ = 60.0  # keeps mains hum and constant offsets out

TARGET_DB = -23.0  # level that speech is brought to
GATE_DB = -60.0  # quieter stretches say nothing of the speaker's level
MAX_GAIN_DB = 20.0  # noise of a very quiet recording is not lifted further

FLOOR_DB = -90.0
CENTRE_DB = -60.0
SCALE_DB = 15.0

_KNEE_HZ = 1000.0
_KNEE_MEL = 15.0
_LOG_STEP = float(np.log(6.4)) / 27

_BLOCK = 1024  # features per block
_SPECTRA = 128  # of these at once: more take 30 kB each while their spectra are computed


class MelEncoder:
    """80 log-mel bands; feature i is centred on sample 320 i + 160, so there is no systematic delay.

    The whole recording gets one gain that brings its speech to -23 dBFS: the mean power over the features
    that are above -60 dBFS and no more than 10 dB below the mean of those (gating after EBU R 128). One
    number per recording keeps the speaker's own dynamics, and pauses or their length do not move it. At most
    20 dB are added, and nothing where no feature passes the gate: silence is not amplified and gives one
    constant, ``floor``.

    Values are (dB - -60) / 15, limited below at -90 dB: about zero mean and unit range for speech.
    """

    name = "mel"
    channels = BANDS
    silence = SilenceRule.together
    travels = False  # there are no weights
    chunkings = ("overlap",)  # blocks: every feature depends on its own 32 ms alone
    floor = (FLOOR_DB - CENTRE_DB) / SCALE_DB

    @property
    def fingerprint(self) -> str:
        levels = (TARGET_DB, GATE_DB, MAX_GAIN_DB, FLOOR_DB, CENTRE_DB, SCALE_DB)
        return fingerprint(["mel", 1, BANDS, WINDOW, FFT, LOW_HZ, levels])

    @classmethod
    def of(cls, config: SpeechConfig, device: torch.device | str) -> MelEncoder:
        return cls()

    @classmethod
    def fingerprint_of(cls, config: SpeechConfig) -> str:
        return cls().fingerprint

    def encode(self, audio: Audio) -> Features:
        """(samples,) at 16 kHz -> (ceil(samples / 320), 80)."""
        power = self._power(check_samples(audio) if audio.dtype == np.int16 else check_audio(audio))
        gain = _gain_db(power.sum(axis=1))
        # In place: of an hour each copy takes 58 MB.
        decibels = np.log10(np.maximum(power, 1e-20, out=power), out=power)
        decibels *= 10
        decibels += gain
        np.maximum(decibels, FLOOR_DB, out=decibels)
        decibels -= CENTRE_DB
        decibels /= SCALE_DB
        return decibels

    def _power(self, audio: Audio) -> npt.NDArray[np.float32]:
        """(features, bands) power per band; their sum is about the mean square of the signal."""
        count = feature_count(len(audio))
        left = WINDOW // 2 - HOP // 2
        power = np.empty((count, BANDS), np.float32)
        for start in range(0, count, _BLOCK):
            # Only a block is copied: an hour of speech is 230 MB.
            padded = np.zeros(HOP * (min(_BLOCK, count - start) - 1) + WINDOW, np.float32)
            first = HOP * start - left
            kept = as_floats(audio[max(0, first) : first + len(padded)])
            padded[max(0, -first) : max(0, -first) + len(kept)] = kept
            frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
            power[start : start + _BLOCK] = self._squares(frames) @ self._filters
        return power

    def _squares(self, frames: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """(features, bins): the squared magnitudes of the spectra of (features, samples)."""
        squares = np.empty((len(frames), FFT // 2 + 1), np.float32)
        for first in range(0, len(frames), _SPECTRA):
            spectrum = np.fft.rfft(frames[first : first + _SPECTRA] * self._window, FFT)
            squares[first : first + _SPECTRA] = np.abs(spectrum) ** 2
        return squares

    @cached_property
    def _window(self) -> npt.NDArray[np.float32]:
        return np.hanning(WINDOW + 1)[:-1].astype(np.float32)

    @cached_property
    def _filters(self) -> npt.NDArray[np.float32]:
        bank = mel_filters(FFT // 2 + 1, BANDS, LOW_HZ, SAMPLE_RATE / 2)
        one_sided = 2.0 / (FFT * float(np.square(self._window).sum()))  # Parseval
        return (bank * one_sided).astype(np.float32)


def mel_filters(bins: int, bands: int, low: float, high: float) -> npt.NDArray[np.float64]:
    """(bins, bands) triangles of height 1 with corners at even steps of Slaney's mel scale.

    The numbers of librosa and transformers, which take half a minute and a second to import.

    Args:
        bins: of the spectrum, 0 to ``high`` Hz.
        bands: how many triangles.
        low, high: Hz at the outer feet of the first and the last.
    """
    corners = mel_corners(bands, low, high)
    rising, falling = (
        (np.linspace(0, high, bins)[:, None] - foot) / (top - foot)
        for foot, top in ((corners[:-2], corners[1:-1]), (corners[2:], corners[1:-1]))
    )
    return np.minimum(rising, falling).clip(min=0)


def mel_corners(bands: int, low: float, high: float) -> npt.NDArray[np.float64]:
    """(bands + 2,) Hz, the feet and tops of those triangles: number i rises from i and falls to i + 2."""
    return _slaney_hertz(np.linspace(_slaney_mel(low), _slaney_mel(high), bands + 2))


def _slaney_mel(hertz: float) -> float:
    """Even steps of 200/3 Hz up to 1 kHz, even ratios above."""
    return 3 * hertz / 200 if hertz < _KNEE_HZ else _KNEE_MEL + float(np.log(hertz / _KNEE_HZ)) / _LOG_STEP


def _slaney_hertz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(mel < _KNEE_MEL, 200 * mel / 3, _KNEE_HZ * np.exp(_LOG_STEP * (mel - _KNEE_MEL)))


def _gain_db(power: npt.NDArray[np.float32]) -> float:
    """Gain of a recording whose features have these total powers."""
    loud = power[power > 10 ** (GATE_DB / 10)]
    if not len(loud):
        return 0.0
    speech = loud[loud > loud.mean() / 10]
    return float(min(TARGET_DB - 10 * np.log10(speech.mean()), MAX_GAIN_DB))
