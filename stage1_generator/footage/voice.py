"""Where someone speaks: energy-based voice activity on the analysis audio (G, docs/notation.md §4)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Below this level (of full scale) even a quiet recording holds only noise.
_SILENCE_DBFS = -60.0


def frame_levels(audio: NDArray[np.float32], rate: int, fps: float) -> NDArray[np.float32]:
    """Sound level of every video frame, dB of full scale, -120 for digital silence.

    Args:
        audio: (samples,) mono in [-1, 1].
        rate: samples per second.
        fps: frames per second of the result.

    Returns:
        (frames,) float32 with frames = floor(samples / rate * fps).
    """
    samples = rate / fps
    count = int(len(audio) / samples + 1e-6)
    if count == 0:
        return np.zeros(0, np.float32)
    edges = np.round(np.arange(count + 1) * samples).astype(np.int64)
    energy = np.concatenate([[0.0], np.cumsum(audio.astype(np.float64) ** 2)])
    power = (energy[edges[1:]] - energy[edges[:-1]]) / np.diff(edges)
    return (10.0 * np.log10(power + 1e-12)).astype(np.float32)


def voiced_from_levels(levels: NDArray[np.float32], threshold_db: float) -> NDArray[np.bool_]:
    """Which frames hold speech-like energy, (frames,).

    A frame is voiced when its level is within `threshold_db` of the track's loud level (95th percentile) and
    above an absolute floor, so that neither a recording's gain nor a silent track matters.
    """
    if not len(levels):
        return np.zeros(0, bool)
    return np.asarray(levels > max(float(np.percentile(levels, 95)) - threshold_db, _SILENCE_DBFS))


def voiced_share(voiced: NDArray[np.bool_], length: int) -> NDArray[np.float64]:
    """Share of voiced frames in every stretch of `length` frames; (max(len - length + 1, 0),)."""
    if len(voiced) < length:
        return np.zeros(0)
    total = np.concatenate([[0], np.cumsum(voiced)])
    return (total[length:] - total[:-length]) / length
