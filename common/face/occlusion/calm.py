"""Findings of consecutive frames without those that come and go too quickly to be things."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from common.face.masks import disc
from common.face.occlusion.picture import Flags
from common.face.occlusion.things import REACH
from common.face.types import FloatArray

# A thing stays for at least so many frames, and is not away for fewer.
_STAYS, _AWAY = 3, 2
# What is only suspected counts in so many frames in a row, before and after a finding.
_COMES_AND_GOES = 4


def steady(seen: Flags) -> Flags:
    """(N,) bool of frames in order: gaps of a frame or two are closed, then what stays under three is gone.

    A finding in one frame alone is a mistake more often than a thing.
    """
    return _without_short(~_without_short(~np.asarray(seen, bool), _AWAY + 1, ends=True), _STAYS)


def _without_short(flags: Flags, least: int, ends: bool = False) -> Flags:
    """``flags`` less its runs shorter than ``least``; with ``ends``, those at the ends stay."""
    result, start = flags.copy(), 0
    for value, run in itertools.groupby(flags):
        stop = start + len(list(run))
        at_end = start == 0 or stop == len(flags)
        if value and stop - start < least and not (ends and at_end):
            result[start:stop] = False
        start = stop
    return result


def _coming_at_ends(seen: Flags, suspected: Flags) -> Flags:
    """(N,) findings of the first or last frames: suspicions of the frames about them count as such there.

    A thing that comes when film ends is seen for less than three frames.
    """
    result, either = np.zeros(len(seen), bool), seen | suspected
    for order in (slice(None), slice(None, None, -1)):
        run = next((n for n, here in enumerate(either[order]) if not here), len(either))
        if run >= _STAYS:
            result[order][:run] |= seen[order][:run]
    return result


def calm(disagreement: NDArray[np.floating]) -> FloatArray:
    """Maps (N, HEIGHT, WIDTH) of consecutive frames, 0..1, without what stays for less than three of them.

    Gaps of a frame or two between findings are filled with what both sides show; so is what a thing covers in
    frames before and after one in which it is seen. What is only suspected
    counts where it touches a finding in the frame before or after, and so on for a few frames.
    """
    given = np.asarray(disagreement, np.float32)
    maps = np.maximum(given, 0)
    seen, suspected = maps.any(axis=(1, 2)), given.min(axis=(1, 2), initial=0) < 0
    stays = steady(seen) | _coming_at_ends(seen, suspected)
    known = np.flatnonzero(seen)
    for frame in np.flatnonzero(stays & ~seen):
        after = int(np.searchsorted(known, frame))
        maps[frame] = np.minimum(maps[known[after - 1]], maps[known[after]])
    maps[~stays] = 0
    for _ in range(_COMES_AND_GOES if suspected.any() else 0):
        before = [maps[max(frame - 1, 0) : frame + 2].max(axis=0) for frame in range(len(maps))]
        for frame in np.flatnonzero(suspected):
            about = cv2.dilate((before[frame] > 0.5).astype(np.uint8), disc(REACH)).astype(bool)
            if (about & (given[frame] < -0.5)).any():
                maps[frame] = np.maximum(maps[frame], -given[frame])
    return _kept_between(maps)


def _kept_between(maps: FloatArray) -> FloatArray:
    """``maps`` of frames with a thing, which covers what it covers within four frames before and after."""
    result = maps.copy()
    for frame in np.flatnonzero(maps.any(axis=(1, 2))):
        sides = maps[max(frame - _COMES_AND_GOES, 0) : frame], maps[frame + 1 : frame + 1 + _COMES_AND_GOES]
        if all(len(side) for side in sides):
            result[frame] = np.maximum(maps[frame], np.minimum(*(side.max(axis=0) for side in sides)))
    return result


def calm_hands(hands: Sequence[Sequence[FloatArray]]) -> list[list[FloatArray]]:
    """Hands of consecutive frames, without those that are found in fewer than three frames."""
    stays = steady(np.array([bool(found) for found in hands], bool))
    return [list(found) if keep else [] for found, keep in zip(hands, stays, strict=True)]
