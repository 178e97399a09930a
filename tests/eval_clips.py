"""Dubbed clips made of numbers, for tests of metrics."""

from __future__ import annotations

from typing import Any

import numpy as np

from common.face.canonical import face_points
from common.media import SAMPLE_RATE
from evaluation.dubbed_clip import SIZE, DubbedClip, FaceRegions, Footage

UNIT = 80.0  # outer eye corners, in pixels of the crop


def speaking_curve(count: int, seed: int = 0) -> np.ndarray:
    """(count,) openings of an irregular talker in eye-corner distances, 0 to about .3, lumps of 0.2 s."""
    rng = np.random.default_rng(seed)
    rough = np.convolve(rng.normal(size=count + 20), np.hanning(7), mode="same")[10 : 10 + count]
    return np.clip(0.12 + 0.06 * rough / rough.std(), 0, None)


def landmarks(opening: np.ndarray) -> np.ndarray:
    """(N, 68, 3) frontal faces in crop pixels whose inner lips are that far open."""
    face = face_points()
    face[60:68] = face[[48, 50, 51, 52, 54, 52, 51, 50]]
    face[60:68, 1] = face[48, 1]
    points = np.repeat(face[None], len(opening), axis=0)
    points[:, [61, 62, 63], 1] -= opening[:, None] / 2
    points[:, [65, 66, 67], 1] += opening[:, None] / 2
    points *= UNIT
    points[..., :2] += (SIZE / 2, SIZE / 4)
    return points.astype(np.float32)


def footage(opening: np.ndarray, size: int = 16, **known: Any) -> Footage:
    """Grey crops of ``size`` (the numbers are what counts) with these mouths; NaN: no face."""
    points = landmarks(np.nan_to_num(opening))
    points[~np.isfinite(opening)] = np.nan
    crops = known.pop("crops", np.full((len(opening), size, size, 3), 128, np.uint8))
    return Footage(crops, points, np.asarray(opening, np.float64), **known)


def dubbed_clip(
    made: Footage, source: Footage | None = None, kind: str = "cross", **known: Any
) -> DubbedClip:
    """A row whose source is a still face unless given; one second of noise per 25 frames unless given."""
    count, size = len(made), made.crops.shape[1]
    nothing = np.zeros((count, size, size), bool)
    noise = np.random.default_rng(7).normal(0, 0.1, SAMPLE_RATE * count // 25).astype(np.float32)
    return DubbedClip(
        "row",
        kind,
        source or footage(np.full(count, 0.1), size),
        made,
        FaceRegions(nothing, nothing, nothing),
        known.pop("speech", noise),
        **known,
    )
