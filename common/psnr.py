"""Peak signal-to-noise ratio: how near pictures are to others, in dB."""

from __future__ import annotations

import math

import numpy as np


def psnr_of_mse(mse: float, peak: float = 255.0, most: float = math.inf) -> float:
    """10 log10(peak^2 / mse) in dB; at most ``most``, as of pictures that are equal.

    Args:
        mse: mean squared error.
        peak: by how much values can differ.
        most: the largest value that is given.
    """
    return most if mse <= 0 else float(min(most, 10 * np.log10(peak**2 / mse)))


def psnr(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Of two uint8 videos or pictures of one shape, in dB; infinite where they are equal."""
    return psnr_of_mse(float(np.square(ours.astype(np.float64) - theirs).mean()))
