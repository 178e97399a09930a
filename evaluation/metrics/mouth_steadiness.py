"""Does the mouth change from frame to frame as a filmed one does, or does it pop?"""

from __future__ import annotations

import itertools

import numpy as np

from common.face import lip_mask
from evaluation.dubbed_clip import Curve, DubbedClip, Frames, Mask
from evaluation.metrics.base import Better, Kind, Metric, Values
from evaluation.metrics.curves import FEWEST_FRAMES
from evaluation.similarity import luma

VERSION = 1

LEAST_CHANGE = 0.5
"""Grey levels: with a source that changes less, a drawn one that stands still, no ratio means anything."""

OVER = 1.25
"""A change counts as a jump from so many times the source's largest (99th percentile) on."""

_KINDS = (Kind.cross, Kind.self, Kind.cycle)


def frame_changes(frames: Frames, region: Mask) -> Curve:
    """d_t = mean over the region of |Y_t - Y_(t-1)|: (N - 1,) grey levels; NaN where the region is empty.

    Nothing is aligned: crops follow the head.

    Args:
        frames: (N, S, S, 3) uint8.
        region: (N, S, S) bool; a pixel counts that is inside in one of the two frames.
    """
    found = np.full(max(0, len(frames) - 1), np.nan)
    for t, (before, now) in enumerate(itertools.pairwise(map(luma, frames))):
        where = region[t] | region[t + 1]
        if where.any():
            found[t] = np.abs(now - before)[where].mean(dtype=np.float64)
    return found


def steadiness(made: Curve, source: Curve) -> Values:
    """Changes (N,) of the made mouth against the source's, over the pairs of frames that both know.

    ``mouth_pop``: ratio of the 95th percentiles. ``mouth_jump``: share of pairs whose made change exceeds
    1.25 times the source's 99th percentile. Empty with fewer than 12 pairs or a source whose 95th percentile
    is below half a grey level.
    """
    both = np.isfinite(made) & np.isfinite(source)
    if both.sum() < FEWEST_FRAMES:
        return {}
    usual, largest = np.percentile(source[both], [95, 99])
    if usual < LEAST_CHANGE:
        return {}
    return {
        "mouth_pop": float(np.percentile(made[both], 95) / usual),
        "mouth_jump": float((made[both] > OVER * largest).mean()),
    }


class MouthSteadiness:
    """In the lips of source, truth and dub together, the same pixels in both versions.

    Against the source, who may say livelier or calmer words than the dub: of one clip ``mouth_pop`` says
    little, of many much. Below 1 the made mouth is frozen, or smeared so that nothing changes; above, it pops
    or flickers.
    """

    fingerprint = f"mouth_steadiness-{VERSION}"
    metrics = (
        Metric(
            "mouth_pop",
            "Mouth pop",
            "",
            Better.one,
            "95th percentile of d(made) / of d(source); d: mean |luma change| from frame to frame in the "
            "lips of source, truth and dub",
            "ours: a mouth that pops changes more from one frame to the next than a filmed one ever does",
            "looks",
            _KINDS,
        ),
        Metric(
            "mouth_jump",
            "Mouth jumps",
            "",
            Better.lower,
            f"share of frames with d(made) > {OVER} times the 99th percentile of d(source); d: see mouth_pop",
            "ours: counts single pops, which a percentile of the whole clip leaves out",
            "looks",
            _KINDS,
        ),
    )

    def __call__(self, clip: DubbedClip) -> Values:
        if Kind(clip.kind) not in _KINDS:
            return {}
        size = clip.made.crops.shape[1]
        seen = clip.source.present
        lips = (lip_mask(footage.landmarks, size) for footage in (clip.source, clip.made))
        region = np.logical_or.reduce([clip.regions.mouth, *lips])
        made, source = (frame_changes(footage.crops, region) for footage in (clip.made, clip.source))
        source[~(seen[1:] & seen[:-1])] = np.nan
        return steadiness(made, source)
