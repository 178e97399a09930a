"""How near the dub is to the right answer, where there is one."""

from __future__ import annotations

from evaluation.dubbed_clip import DubbedClip
from evaluation.metrics.base import Better, Metric, Values
from evaluation.metrics.quality import LEAST_PIXELS, clear_regions
from evaluation.similarity import compare

_WHERE = {
    "mouth": "lips of source and truth",
    "face": "face without the mouth",
    "background": "crop without the face",
    "occluder": "what covers face or mouth; the other regions are without it",
}


class Truth:
    """``truth_psnr_*`` and ``truth_ssim_*`` of mouth, face, background and occluder; with a truth only."""

    metrics = tuple(
        Metric(
            key=f"truth_{name}_{region}",
            title=f"{name.upper()} {region} to truth",
            unit=unit,
            better=Better.higher,
            formula=f"{formula}; {where}",
            source=source,
            group="truth",
        )
        for region, where in _WHERE.items()
        for name, unit, formula, source in (
            (
                "psnr",
                "dB",
                "10 log10(255^2 / MSE(made, truth)), MSE over all frames, <= 100",
                "PSNR by region",
            ),
            ("ssim", "", "mean SSIM(made, truth) of luma", "Wang et al. 2004, eq. 13"),
        )
    )
    fingerprint = "truth-2"

    def __call__(self, clip: DubbedClip) -> Values:
        if clip.truth is None:
            return {}
        values: Values = {}
        for name, found in compare(clip.made.crops, clip.truth.crops, clear_regions(clip)).items():
            if found.pixels >= LEAST_PIXELS:
                values[f"truth_psnr_{name}"], values[f"truth_ssim_{name}"] = found.psnr, found.ssim
        return values
