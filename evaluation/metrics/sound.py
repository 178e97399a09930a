"""What metrics of lips ask of a sound track."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import correlate

from common.media import SAMPLE_RATE
from evaluation.dubbed_clip import RATE, Curve, DubbedClip

SAME = 0.7
"""Normalised cross-correlation from which on two sounds are one recording, coded or shifted perhaps.

Of twelve recordings of different speech no two reached .13; AAC and back gives more than .99.
"""

REACH = SAMPLE_RATE // 2
"""Samples by which a recording may be shifted and still be found again."""

FAINTEST = 1e-4
"""Peak below which a sound is silence."""

_QUIET = 1e-4  # root mean square (-80 dB) of what is no speech at all
_FLOOR_DB = -60.0


def same_recording(a: NDArray[np.float32], b: NDArray[np.float32]) -> bool:
    """Whether both are one recording, up to gain, a shift of at most half a second, and lossy coding."""
    length = min(len(a), len(b))
    x, y = (part[:length].astype(np.float64) for part in (a, b))
    quiet = [not length or np.abs(part).max() < FAINTEST for part in (x, y)]
    if any(quiet):
        return all(quiet)
    shifts = correlate(x, y, mode="full", method="fft")[max(length - 1 - REACH, 0) : length + REACH]
    return bool(shifts.max() / (np.linalg.norm(x) * np.linalg.norm(y)) >= SAME)


def is_generated(clip: DubbedClip) -> bool:
    """Whether the made sound is new: neither the source's nor the speech that was given."""
    made, source = clip.made.sound, clip.source.sound
    if made is None or source is None:
        return False
    return not same_recording(made, source) and not same_recording(made, clip.speech)


def heard_speech(clip: DubbedClip) -> NDArray[np.float32]:
    """(samples,) what the made lips are to follow: the sound that was generated, else the given speech."""
    made = clip.made.sound
    return made if made is not None and is_generated(clip) else clip.speech


def has_sound(sound: Curve | NDArray[np.float32]) -> bool:
    """Whether a track holds anything louder than -80 dB on average."""
    return len(sound) > 0 and float(np.sqrt(np.mean(np.square(sound, dtype=np.float64)))) > _QUIET


def loudness(speech: NDArray[np.float32], frames: int) -> Curve:
    """(frames,) level in dB of (samples,) at 16 kHz, one per video frame, at least 60 dB below the loudest.

    NaN for frames that the speech does not reach, and everywhere where it is silent.
    """
    hop = round(SAMPLE_RATE / RATE)
    known = min(frames, len(speech) // hop)
    power = np.square(np.asarray(speech[: known * hop], np.float64)).reshape(known, hop).mean(axis=1)
    level = np.full(frames, np.nan)
    if known and power.max() > 0:
        least = power.max() * 10 ** (_FLOOR_DB / 10)
        level[:known] = 10 * np.log10(np.maximum(power, least))
    return level
