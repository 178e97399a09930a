"""What was left alone: PSNR and SSIM of the dub to the source, by region."""

from __future__ import annotations

import numpy as np

from common.psnr import psnr_of_mse
from evaluation.dubbed_clip import Curve, DubbedClip, Mask
from evaluation.metrics.base import Better, Metric, Values
from evaluation.native import OUTSIDE_MSE, OUTSIDE_SSIM, VERSION
from evaluation.similarity import PSNR_CAP, compare

_WHERE = {
    "mouth": ("mouth", Better.none, "lips, grown a little; a dub must differ here"),
    "face": ("face", Better.higher, "face without the mouth"),
    "background": ("background", Better.higher, "crop without face and mouth"),
    "occluder": ("occluder", Better.higher, "known occluder where it covers face or mouth"),
    "outside": ("outside", Better.higher, "frame outside the face's square, own size"),
}

LEAST_PIXELS = 200
"""What a known occluder covers, or leaves of a region, is left out where it is less, over the whole clip."""


def _metrics() -> tuple[Metric, ...]:
    metrics = []
    for region, (title, better, where) in _WHERE.items():
        metrics.append(
            Metric(
                key=f"psnr_{region}",
                title=f"PSNR {title}",
                unit="dB",
                better=better,
                formula=f"10 log10(255^2 / MSE(made, source)), MSE over all frames and RGB; {where}; <= 100",
                source="region-limited PSNR; pooled over the clip before the logarithm",
                group="looks",
            )
        )
        metrics.append(
            Metric(
                key=f"ssim_{region}",
                title=f"SSIM {title}",
                unit="",
                better=better,
                formula=f"mean SSIM(made, source) of luma, Gaussian 11 x 11, sigma 1.5; {where}",
                source="Wang et al. 2004, eq. 13",
                group="looks",
            )
        )
    return tuple(metrics)


def visible_regions(clip: DubbedClip) -> dict[str, Mask]:
    """mouth, face and background, (N, S, S), empty in frames where the source shows no face."""
    seen = clip.source.present[:, None, None]
    regions = clip.regions
    named = {"mouth": regions.mouth, "face": regions.face, "background": regions.background}
    return {name: region & seen for name, region in named.items()}


def clear_regions(clip: DubbedClip) -> dict[str, Mask]:
    """mouth, face, background and, where it is known, occluder: (N, S, S), no pixel in two of them.

    Only the part of an occluder that covers the face is the occluder's: elsewhere a dub does not touch it,
    and it is left out altogether. It counts also in frames in which the detector loses the face behind it:
    these are where it is in the way most. Rows without one have the regions of :func:`visible_regions`.
    """
    regions = visible_regions(clip)
    covered = clip.regions.occluder
    if covered is None:
        return regions
    clear = {name: region & ~covered for name, region in regions.items()}
    return {**clear, "occluder": covered & (clip.regions.mouth | clip.regions.face)}


def _mean(curve: Curve | None) -> float | None:
    if curve is None or not np.isfinite(curve).any():
        return None
    return float(np.nanmean(curve))


class Quality:
    """PSNR and SSIM of the dub to the source: ``psnr_*`` and ``ssim_*`` of five regions.

    Mouth, face, background and occluder are of the 256-pixel crops, in frames that show a face; ``outside``
    is of all frames at the video's own size, from :attr:`Footage.native`. Where an occluder is known the
    first three are without it, as against the truth: a dub that smears a hand is to be seen in the hand's
    number, and a hand that is kept must not make the face's look better.
    """

    metrics = _metrics()
    fingerprint = f"quality-2 {VERSION}"

    def __call__(self, clip: DubbedClip) -> Values:
        values: Values = {}
        least = 0 if clip.regions.occluder is None else LEAST_PIXELS
        for name, found in compare(clip.made.crops, clip.source.crops, clear_regions(clip)).items():
            if found.pixels < least:
                continue
            values[f"psnr_{name}"], values[f"ssim_{name}"] = found.psnr, found.ssim
        mse, ssim = (_mean(clip.made.native.get(name)) for name in (OUTSIDE_MSE, OUTSIDE_SSIM))
        if mse is not None:
            values["psnr_outside"] = psnr_of_mse(mse, most=PSNR_CAP)
        if ssim is not None:
            values["ssim_outside"] = ssim
        return values
