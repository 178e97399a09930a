"""Jumps where one window of a system ends and the next begins."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from evaluation.metrics.base import Better, Metric, Values
from evaluation.metrics.quality import visible_regions
from evaluation.take import Curve, Frames, Mask, Take

# Jumps of colour or place are seen at a quarter of the crop's size; noise and texture mostly are not.
_SHRINK = 4
# Frames to each side of a seam that are looked at: windows may be blended over a frame or two.
_REACH = 1
# Frames to each side that a seam is compared with: about a second, so that a lively moment has its own scale.
_AROUND = 12
_LEAST_AROUND = 4


def jumps(made: Frames, source: Frames, region: Mask) -> Curve:
    """Jump of what was done to the source, from frame t - 1 to t: (N,) grey levels; NaN where unknown.

    With D = made - source, of crops shrunk by 4: mean over the region of
    |D_t - D_t-1 - (D_t-1 - D_t-2 + D_t+1 - D_t) / 2|. A step of h gives h. The source's own movement, a
    lasting offset and a steady change give nothing, and little a movement that comes a little later.

    Args:
        made, source: (N, S, S, 3) uint8.
        region: (N, S, S) bool; all four frames count.
    """
    count, size = len(made), max(1, made.shape[1] // _SHRINK)

    def small(image: NDArray) -> NDArray[np.float32]:
        shrunk = cv2.resize(image.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)
        return np.asarray(shrunk, np.float32)

    done = np.array([small(new) - small(old) for new, old in zip(made, source, strict=True)])
    inside = np.array([small(where) > 0.999 for where in region])
    found = np.full(count, np.nan)
    for t in range(2, count - 1):
        where = inside[t - 2 : t + 2].all(axis=0)
        if where.any():
            jump = 1.5 * (done[t] - done[t - 1]) - 0.5 * (done[t + 1] - done[t - 2])
            found[t] = float(np.abs(jump[where]).mean())
    return found


def seam_excess(found: Curve, seams: Sequence[int]) -> float | None:
    """Mean over seams of the jump at the seam less what is usual around it, in the unit of ``found``.

    A seam's jump is the largest of its frame and the two beside it. What is usual is the median of the same
    number over frames within a second that lie clear of every seam.

    Args:
        found: (N,), as of :func:`jumps`.
        seams: frames that begin a window. Frame 0 begins the clip and is no seam.

    Returns:
        0 or less where a seam is like any other frame; None without seams, or with nothing to compare.
    """
    count = len(found)
    largest = np.full(count, np.nan)
    for index in range(count):
        near = found[max(0, index - _REACH) : index + _REACH + 1]
        if np.isfinite(near).any():
            largest[index] = np.nanmax(near)
    places = [seam for seam in seams if 0 < seam < count]
    clear = np.isfinite(largest)
    for seam in places:
        clear[max(0, seam - 2 * _REACH) : seam + 2 * _REACH + 1] = False
    excess = []
    for seam in places:
        window = slice(max(0, seam - _AROUND), seam + _AROUND + 1)
        usual = largest[window][clear[window]]
        if np.isfinite(largest[seam]) and len(usual) >= _LEAST_AROUND:
            excess.append(largest[seam] - float(np.median(usual)))
    return float(np.mean(excess)) if excess else None


class Seams:
    """``seam_jump``: how far window borders stand out, in the face without the mouth.

    Left out where the system does not tell its seams or has none.
    """

    metrics = (
        Metric(
            key="seam_jump",
            title="Seams",
            unit="grey levels",
            better=Better.lower,
            formula="mean over seams of J(seam) - median of J around; "
            "J: max over 3 frames of mean |d - mean of d before and after|, d: change of made - source",
            source="ours: the source's change is taken away, the frames around a seam are its scale",
            group="looks",
        ),
    )
    fingerprint = "seams-1"

    def __call__(self, take: Take) -> Values:
        if not take.seams:
            return {}
        face = visible_regions(take)["face"]
        jump = seam_excess(jumps(take.made.crops, take.source.crops, face), take.seams)
        return {} if jump is None else {"seam_jump": jump}
