"""Whether a picture is grainy all over: that costs quality in coding, and is told before it begins."""

from __future__ import annotations

import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

GRAINY = 0.5
"""Grain from which on it is hard to code; what a codec has coded once has .2 at the most, new film grain 1
and more."""

_BLOCK = 16
_CALMEST = 0.1
"""Share of the blocks that decides: texture lies in some places, grain everywhere."""
# Takes out what is straight in either direction; of noise it leaves six times the standard deviation
# (J. Immerkaer, Fast noise variance estimation, 1996).
_NOISE = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
_GAIN = 6 / np.sqrt(np.pi / 2)


def grain_of(picture: VideoFrame) -> float:
    """Standard deviation of the noise in the calmest blocks of a picture, in 8-bit steps of luma."""
    # In 16 bits, whatever it had: fewer than it had would be dithered, which is noise.
    luma = VideoReformatter().reformat(picture, format="gray16le").to_ndarray()
    noise = np.abs(cv2.filter2D(luma, cv2.CV_32F, _NOISE)) / 256
    rows, columns = (size // _BLOCK for size in noise.shape)
    if not rows or not columns:
        return 0.0
    whole = noise[: rows * _BLOCK, : columns * _BLOCK]
    blocks = cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA)
    return float(np.quantile(blocks, _CALMEST) / _GAIN)
