"""Where someone speaks: energy-based voice activity on the analysis audio (G, spec section 4)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Below this level (of full scale) even a quiet recording holds only noise.
_SILENCE_DBFS = -60.0


def voiced_frames(
    audio: NDArray[np.float32], rate: int, fps: float, threshold_db: float
) -> NDArray[np.bool_]:
    """Which video frames hold speech-like energy.

    A frame is voiced when its level is within `threshold_db` of the track's loud level (95th percentile) and
    above an absolute floor, so that neither a recording's gain nor a silent track matters.

    Args:
        audio: (samples,) mono in [-1, 1].
        rate: samples per second.
        fps: frames per second of the result.

    Returns:
        (frames,) with frames = floor(samples / rate * fps).
    """
    samples = rate / fps
    count = int(len(audio) / samples + 1e-6)
    if count == 0:
        return np.zeros(0, bool)
    edges = np.round(np.arange(count + 1) * samples).astype(np.int64)
    energy = np.concatenate([[0.0], np.cumsum(audio.astype(np.float64) ** 2)])
    power = (energy[edges[1:]] - energy[edges[:-1]]) / np.diff(edges)
    level = 10.0 * np.log10(power + 1e-12)
    loud = np.percentile(level, 95)
    return np.asarray(level > max(loud - threshold_db, _SILENCE_DBFS))


def voiced_share(voiced: NDArray[np.bool_], length: int) -> NDArray[np.float64]:
    """Share of voiced frames in every stretch of `length` frames; (max(len - length + 1, 0),)."""
    if len(voiced) < length:
        return np.zeros(0)
    total = np.concatenate([[0], np.cumsum(voiced)])
    return (total[length:] - total[:-length]) / length
