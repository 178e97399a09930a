"""What metrics of lips ask of a sound track."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import correlate

from evaluation.take import RATE, SPEECH_RATE, Curve

# A sound track that was coded and decoded correlates above .9 with what went in, other speech below .1.
SAME_SOUND = 0.5
_SAME_SOUND_LAG = 0.2  # seconds: the delay that coders may add
_QUIET = 1e-4  # root mean square (-80 dB) of what is no speech at all
_FLOOR_DB = -60.0


def same_sound(a: NDArray[np.float32], b: NDArray[np.float32]) -> bool:
    """Whether two tracks (samples,) at 16 kHz are one recording: coding, gain and a short delay are passed
    over (largest normalised cross-correlation within 0.2 s at least .5)."""
    count = min(len(a), len(b))
    x, y = (np.asarray(s[:count], np.float64) for s in (a, b))
    power = float(np.sqrt((x @ x) * (y @ y)))
    if power == 0:
        return bool((x @ x) == (y @ y))
    lag = min(round(_SAME_SOUND_LAG * SPEECH_RATE), count - 1)
    around = correlate(x, y, mode="full", method="fft")[count - 1 - lag : count + lag]
    return bool(np.max(np.abs(around)) >= SAME_SOUND * power)


def has_sound(sound: Curve | NDArray[np.float32]) -> bool:
    """Whether a track holds anything louder than -80 dB on average."""
    return len(sound) > 0 and float(np.sqrt(np.mean(np.square(sound, dtype=np.float64)))) > _QUIET


def loudness(speech: NDArray[np.float32], frames: int) -> Curve:
    """(frames,) level in dB of (samples,) at 16 kHz, one per video frame, at least 60 dB below the loudest.

    NaN for frames that the speech does not reach, and everywhere where it is silent.
    """
    hop = round(SPEECH_RATE / RATE)
    known = min(frames, len(speech) // hop)
    power = np.square(np.asarray(speech[: known * hop], np.float64)).reshape(known, hop).mean(axis=1)
    level = np.full(frames, np.nan)
    if known and power.max() > 0:
        least = power.max() * 10 ** (_FLOOR_DB / 10)
        level[:known] = 10 * np.log10(np.maximum(power, least))
    return level
