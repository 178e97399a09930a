"""Clips for tests of metrics: given frames, a face in the middle of the crop, regions without a pixel."""

from __future__ import annotations

from typing import Any

import numpy as np

from common.face.canonical import face_in_box
from evaluation.dubbed_clip import DubbedClip, FaceRegions, Footage


def make_footage(
    crops: np.ndarray, seen: np.ndarray | None = None, sound: np.ndarray | None = None
) -> Footage:
    """``seen``: (N,) frames with a face; all where not given."""
    count, size = len(crops), crops.shape[1]
    face = face_in_box(np.array([0.2, 0.2, 0.8, 0.85], np.float32) * size)
    landmarks = np.repeat(face[None], count, axis=0).astype(np.float32)
    if seen is not None:
        landmarks[~seen] = np.nan
    opening = np.zeros(count)
    return Footage(crops, landmarks, opening, sound=sound)


def make_dubbed_clip(source: Footage, made: Footage, kind: str = "cross", **more: Any) -> DubbedClip:
    """A take without speech unless it is given."""
    mask = np.zeros(source.crops.shape[:3], bool)
    more.setdefault("speech", np.zeros(16000, np.float32))
    return DubbedClip("row", kind, source, made, FaceRegions(mask, mask, mask), **more)
