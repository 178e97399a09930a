"""How alike two pictures are: squared error, PSNR and SSIM inside regions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from common.psnr import psnr_of_mse
from evaluation.dubbed_clip import Frames, Mask

Gray = NDArray[np.float32]

PSNR_CAP = 100.0
"""dB given to equal pixels, so that tables and means stay finite. One level in one value of 25 HD frames is
less."""

# Wang et al. 2004, section III.C: window, K1, K2, dynamic range.
_WINDOW, _SIGMA = (11, 11), 1.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
SSIM_REACH = _WINDOW[0] // 2
"""Pixels on each side that a value of the SSIM map depends on."""


@dataclass(frozen=True)
class Likeness:
    """Two clips inside a region: PSNR in dB, mean SSIM (-1..1), pixels looked at."""

    psnr: float
    ssim: float
    pixels: int


def luma(image: Frames) -> Gray:
    """(H, W) Rec. 601 luma, 0..255, of (H, W, 3) RGB uint8."""
    return np.asarray(cv2.cvtColor(image.astype(np.float32), cv2.COLOR_RGB2GRAY), np.float32)


def ssim_map(a: Gray, b: Gray) -> Gray:
    """SSIM of every pixel, (H, W), of two gray pictures (H, W), 0..255 (Wang et al. 2004, eq. 13).

    Gaussian window 11 x 11, standard deviation 1.5, K1 = 0.01, K2 = 0.03. Pictures are mirrored at their
    edges; the paper leaves those pixels out.
    """

    def mean(x: Gray) -> Gray:
        return np.asarray(cv2.GaussianBlur(x, _WINDOW, _SIGMA, borderType=cv2.BORDER_REFLECT_101), np.float32)

    mean_a, mean_b = mean(a), mean(b)
    aa, bb, ab = mean_a * mean_a, mean_b * mean_b, mean_a * mean_b
    # a and b enter the sum of variances together, which saves a filter.
    variances = mean(a * a + b * b) - aa - bb
    covariance = mean(a * b) - ab
    return np.asarray(((2 * ab + _C1) * (2 * covariance + _C2)) / ((aa + bb + _C1) * (variances + _C2)))


def compare(a: Frames, b: Frames, regions: Mapping[str, Mask], with_ssim: bool = True) -> dict[str, Likeness]:
    """Likeness of two clips (N, S, S, 3) uint8 inside each region (N, S, S) bool.

    Squared errors (of R, G and B) and SSIM (of luma) are pooled over all pixels of the clip before the
    logarithm is taken: a mean of decibels would be ruled by the frames that are best. Empty regions are left
    out.
    """
    error = dict.fromkeys(regions, 0.0)
    similarity = dict.fromkeys(regions, 0.0)
    pixels = dict.fromkeys(regions, 0)
    for index, (left, right) in enumerate(zip(a, b, strict=True)):
        squared = cv2.absdiff(left, right).astype(np.float32)
        squared *= squared
        ssim = ssim_map(luma(left), luma(right)) if with_ssim else None
        for name, region in regions.items():
            where = region[index]
            error[name] += float(squared[where].sum(dtype=np.float64))
            pixels[name] += int(where.sum())
            if ssim is not None:
                similarity[name] += float(ssim[where].sum(dtype=np.float64))
    return {
        name: Likeness(psnr_of_mse(error[name] / (3 * count), most=PSNR_CAP), similarity[name] / count, count)
        for name, count in pixels.items()
        if count
    }
