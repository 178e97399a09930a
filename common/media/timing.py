"""The model's constant rate and the video's own times, mapped to each other by resampling in time.

A frame is on display from its own start to the next one's. The model's frame j stands for the interval
[j, j + 1) / rate. Both maps look at the *middle* of an interval: so neither direction leads or lags on
average, and time stamps that were rounded (milliseconds in Matroska) cannot flip a choice.
"""

from __future__ import annotations

import numpy as np

# Ties (30 -> 25 fps has one every fifth frame) go to the later frame whatever the rounding of the times.
_TIE = 1e-6


def _checked(times: np.ndarray, rate: float) -> np.ndarray:
    times = np.asarray(times, dtype=np.float64)
    if times.ndim != 1 or len(times) == 0:
        raise ValueError(f"times must be a non-empty vector, got shape {times.shape}")
    if not np.isfinite(times).all() or (np.diff(times) < 0).any():
        raise ValueError("times must be finite and must not decrease")
    if not rate > 0:
        raise ValueError(f"rate must be positive, got {rate}")
    return times - times[0]


def _last_interval(times: np.ndarray, rate: float) -> float:
    """How long the last frame stays: as long as frames do usually."""
    return float(np.median(np.diff(times))) if len(times) > 1 else 1.0 / rate


def model_frame_count(times: np.ndarray, rate: float = 25.0) -> int:
    """M: how many model frames cover a video with these frame times; round(duration * rate), at least 1."""
    times = _checked(times, rate)
    return max(1, int(np.floor((times[-1] + _last_interval(times, rate)) * rate + 0.5)))


def resample_indices(times: np.ndarray, rate: float = 25.0) -> np.ndarray:
    """The source frame on display at each of the model's frames.

    Args:
        times: (N,) seconds of every source frame's start, not decreasing (any origin).
        rate: the model's frames per second.

    Returns:
        (M,) int64, not decreasing, values in [0, N); M = :func:`model_frame_count`. The identity where the
        source has the model's rate.
    """
    times = _checked(times, rate)
    middles = (np.arange(model_frame_count(times, rate)) + 0.5) / rate
    shown = np.searchsorted(times, middles + _TIE, side="right") - 1
    return np.clip(shown, 0, len(times) - 1).astype(np.int64)


def nearest_model_frame(times: np.ndarray, rate: float = 25.0, count: int | None = None) -> np.ndarray:
    """The model frame whose picture each source frame takes: the way back from :func:`resample_indices`.

    A frame that is held for long takes the model frame of its onset, where the eye expects the change.

    Args:
        times: (N,) seconds of every source frame's start, not decreasing (any origin).
        rate: the model's frames per second.
        count: M, how many model frames there are; None: as many as :func:`resample_indices` gives.

    Returns:
        (N,) int64, not decreasing, values in [0, M).
    """
    times = _checked(times, rate)
    count = model_frame_count(times, rate) if count is None else count
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    lengths = np.append(np.diff(times), _last_interval(times, rate))
    middles = times + np.minimum(lengths, 1.0 / rate) / 2
    return np.clip(np.floor((middles + _TIE) * rate), 0, count - 1).astype(np.int64)
