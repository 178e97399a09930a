"""Whether the face keeps its colour, and keeps it over time."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from evaluation.dubbed_clip import DubbedClip, Frames, Mask
from evaluation.metrics.base import Better, Metric, Values
from evaluation.metrics.quality import visible_regions

# Of fewer frames the first and the last fifth are too short to hold against each other.
_LEAST_FRAMES = 10


def mean_lab(frames: Frames, region: Mask) -> NDArray[np.float64]:
    """Mean CIELAB colour (sRGB, D65) of each frame inside a region: (N, 3), NaN where the region is empty."""
    colours = np.full((len(frames), 3), np.nan)
    for index, (image, where) in enumerate(zip(frames, region, strict=True)):
        if where.any():
            lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
            colours[index] = lab[where].mean(axis=0, dtype=np.float64)
    return colours


def offset_and_drift(difference: NDArray[np.float64]) -> tuple[float | None, float | None]:
    """Constant offset and drift, both in delta E (CIE 1976: Euclidean distance in CIELAB).

    Args:
        difference: (N, 3) mean colour of made minus source; NaN rows are left out.

    Returns:
        offset: length of the median over time.
        drift: length of the median of the last fifth minus that of the first: 0 for any constant offset. None
        with fewer than 10 known frames. Both None with none.
    """
    known = difference[np.isfinite(difference).all(axis=1)]
    if not len(known):
        return None, None
    offset = float(np.linalg.norm(np.median(known, axis=0)))
    if len(known) < _LEAST_FRAMES:
        return offset, None
    fifth = len(known) // 5
    ends = np.median(known[-fifth:], axis=0) - np.median(known[:fifth], axis=0)
    return offset, float(np.linalg.norm(ends))


class Colour:
    """``colour_offset`` and ``colour_drift`` of the face without the mouth, against the source."""

    metrics = (
        Metric(
            key="colour_offset",
            title="Colour offset",
            unit="delta E",
            better=Better.lower,
            formula="|median_t (Lab(made_t) - Lab(source_t))|; Lab: mean colour of face less mouth",
            source="CIE 1976 colour difference",
            group="looks",
        ),
        Metric(
            key="colour_drift",
            title="Colour drift",
            unit="delta E",
            better=Better.lower,
            formula="|d(last fifth) - d(first fifth)|; d: median over frames of Lab(made_t) - Lab(source_t)",
            source="CIE 1976 colour difference; ends against each other, so that an offset is no drift",
            group="looks",
        ),
    )
    fingerprint = "colour-1"

    def __call__(self, clip: DubbedClip) -> Values:
        face = visible_regions(clip)["face"]
        made, source = (mean_lab(footage.crops, face) for footage in (clip.made, clip.source))
        offset, drift = offset_and_drift(made - source)
        values: Values = {}
        if offset is not None:
            values["colour_offset"] = offset
        if drift is not None:
            values["colour_drift"] = drift
        return values
