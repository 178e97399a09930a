"""Jumps where one window of a system ends and the next begins."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d

from evaluation.dubbed_clip import Curve, DubbedClip, Frames, Mask
from evaluation.metrics.base import Better, Metric, Values
from evaluation.metrics.quality import visible_regions

# Jumps of colour or place are seen at a quarter of the crop's size; noise and texture mostly are not.
_SHRINK = 4
# Frames to each side of a seam that are looked at: windows may be blended over a frame or two.
_REACH = 1
# Frames to each side that a seam is compared with: about a second, so that a lively moment has its own scale.
_AROUND = 12
_LEAST_AROUND = 4
# Grey levels of the source's own jump, and frames around, up to which a pixel counts as calm.
_CALM, _CALM_REACH = 3.0, 6
_LEAST_CALM = 0.05


def jumps(made: Frames, source: Frames, region: Mask) -> Curve:
    """Jump of what was done to the source, from frame t - 1 to t: (N,) grey levels; NaN where unknown.

    With D = made - source, of crops shrunk by 4: mean over the region of
    |D_t - D_t-1 - (D_t-1 - D_t-2 + D_t+1 - D_t) / 2|. A step of h gives h; a lasting offset and a steady
    change give nothing. Pixels that jump in the source itself, up to 6 frames before or after, are left out:
    a made that blinks a little later than the source would else jump twice.

    Args:
        made, source: (N, S, S, 3) uint8.
        region: (N, S, S) bool; all four frames count. Unknown where less than a twentieth of it is calm.
    """
    size = max(1, made.shape[1] // _SHRINK)

    def small(image: NDArray) -> NDArray[np.float32]:
        shrunk = cv2.resize(image.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)
        return np.asarray(shrunk, np.float32)

    found = np.full(len(made), np.nan)
    if len(made) < 4:
        return found
    old = np.array([small(image) for image in source])
    inside = np.array([small(where) > 0.999 for where in region])
    inside = inside[:-3] & inside[1:-2] & inside[2:-1] & inside[3:]
    own = maximum_filter1d(_steps(old), 2 * _CALM_REACH + 1, axis=0)
    done = _steps(np.array([small(image) for image in made]) - old)
    for t, (step, where, calm) in enumerate(zip(done, inside, own < _CALM, strict=True), start=2):
        if where.any() and (where & calm).sum() >= _LEAST_CALM * where.sum():
            found[t] = float(step[where & calm].mean())
    return found


def _steps(clip: NDArray[np.float32]) -> NDArray[np.float32]:
    """|step| from t - 1 to t less the slope around it, mean over channels: (N - 3, H, W), t = 2 .. N - 2."""
    step = 1.5 * (clip[2:-1] - clip[1:-2]) - 0.5 * (clip[3:] - clip[:-3])
    return np.asarray(np.abs(step).mean(axis=-1), np.float32)


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


class SeamJump:
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
            "J: max over 3 frames of mean |d - mean of d before and after|, d: change of made - source where "
            "the source is calm",
            source="ours: the source's change is taken away, the frames around a seam are its scale",
            group="looks",
        ),
    )
    fingerprint = "seams-1"

    def __call__(self, clip: DubbedClip) -> Values:
        if not clip.seams:
            return {}
        face = visible_regions(clip)["face"]
        jump = seam_excess(jumps(clip.made.crops, clip.source.crops, face), clip.seams)
        return {} if jump is None else {"seam_jump": jump}
