"""Mel-frequency cepstra with the conventions of python_speech_features, which SyncNet was trained on.

25 ms windows every 10 ms without any taper, pre-emphasis .97, 512-point power spectrum, 26 triangles on
whole bins, orthonormal DCT, lifter 22, first coefficient replaced by the log of the window's energy.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct

from common.media import SAMPLE_RATE

WINDOW, HOP, FFT = 400, 160, 512
FILTERS, CEPSTRA, LIFTER = 26, 13, 22
PRE_EMPHASIS = 0.97
FULL_SCALE = 32768.0
# The logarithm of an empty band: what the net has seen in digital silence.
_EMPTY = float(np.finfo(np.float64).eps)


def mfcc(sound: NDArray[np.floating]) -> NDArray[np.float64]:
    """(samples,) mono at 16 kHz in [-1, 1] -> (frames, 13), one frame per 10 ms.

    The sound is taken as 16-bit integers, as from a WAV file: the energies are theirs. The last frame is
    filled up with zeros.

    Raises:
        ValueError: no samples.
    """
    if sound.ndim != 1 or not len(sound):
        raise ValueError(f"sound is {sound.shape}, not (samples,) with at least one")
    samples = np.clip(np.rint(np.asarray(sound, np.float64) * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1)
    emphasised = np.append(samples[0], samples[1:] - PRE_EMPHASIS * samples[:-1])
    count = 1 + max(0, -(-(len(samples) - WINDOW) // HOP))
    padded = np.zeros((count - 1) * HOP + WINDOW)
    padded[: len(emphasised)] = emphasised[: len(padded)]
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    power = np.abs(np.fft.rfft(frames, FFT)) ** 2 / FFT
    bands = power @ _filters().T
    energy = power.sum(axis=1)
    cepstra = dct(np.log(np.where(bands == 0, _EMPTY, bands)), type=2, axis=1, norm="ortho")[:, :CEPSTRA]
    cepstra *= 1 + LIFTER / 2 * np.sin(np.pi * np.arange(CEPSTRA) / LIFTER)
    cepstra[:, 0] = np.log(np.where(energy == 0, _EMPTY, energy))
    return np.asarray(cepstra)


@cache
def _filters() -> NDArray[np.float64]:
    """(26, 257) triangles whose corners are equally far apart in mel (2595 log10(1 + f / 700)), rounded
    down to bins of a spectrum of 513."""
    top = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)
    hertz = 700 * (10 ** (np.linspace(0, top, FILTERS + 2) / 2595) - 1)
    corners = np.floor((FFT + 1) * hertz / SAMPLE_RATE)
    bins = np.arange(FFT // 2 + 1)
    low, middle, high = (corners[i : i + FILTERS, None] for i in range(3))
    rising = (bins - low) / np.maximum(middle - low, 1)
    falling = (high - bins) / np.maximum(high - middle, 1)
    bank = np.where((bins >= low) & (bins < middle), rising, 0.0)
    return np.where((bins >= middle) & (bins < high), falling, bank)
