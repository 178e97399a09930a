"""Long recordings in pieces that an encoder can take, put together without a seam."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from common.speech.base import Features

CHUNKINGS = ("overlap", "release")
"""Ways of long recordings: without a seam in bounded memory (ours), and as the weights were published (R)."""

EncodeChunk = Callable[[int, int], Features]


def hard_chunks(count: int, window: int, encode: EncodeChunk) -> Features:
    """Abutting windows, each cut to its own length (R). Features jump where windows meet."""
    starts = range(0, count, window)
    return np.concatenate([encode(start, min(start + window, count)) for start in starts])


def overlapping_chunks(count: int, window: int, overlap: int, encode: EncodeChunk) -> Features:
    """Windows that overlap by at least ``overlap`` and are cross-faded in its middle half.

    The outer quarters are thrown away: there the encoder had context on one side only. The last window is
    moved back so that it is a full one. For ``count <= window`` there is one window, returned as it is.

    Args:
        count: features of the whole recording.
        window: features that ``encode`` can take at once.
        overlap: features, below ``window``.
        encode: (first, end) -> (end - first, channels).
    """
    if count <= window:
        return encode(0, count)
    starts = [*range(0, count - window, window - overlap), count - window]
    total, weights = None, np.zeros(count, np.float32)
    for start in starts:
        weight = np.ones(window, np.float32)
        ramp = np.clip((np.arange(window, dtype=np.float32) + 0.5) / (overlap / 2) - 0.5, 0.0, 1.0)
        if start > 0:
            weight *= ramp
        if start + window < count:
            weight *= ramp[::-1]
        features = encode(start, start + window)
        if total is None:
            total = np.zeros((count, features.shape[1]), np.float32)
        total[start : start + window] += features * weight[:, None]
        weights[start : start + window] += weight
    assert total is not None
    return total / weights[:, None]
