"""The corrupted control: a video that an attentive rater must score low (EdiDub, appendix A.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from common.face import FaceDetector, FaceTrack, track_face
from common.face.layout import MOUTH, RIGID_UPPER
from evaluation.dubbed_clip import Frames
from evaluation.mos.footage import Form, shown_frames

FIRST = 15
"""The first frame that is corrupted."""
LAST = 5
"""Frames at the end that are not."""
HOLD = 25
"""Frames that show one crop."""
NOISE = 20.0
"""Standard deviation of the noise, of 255 levels."""
FEWEST_FRAMES = 25
"""A clip of less than a second is no utterance that could be rated."""

_MARGIN = 1.4  # the pasted box over the mouth's own
_LEAST_PRESENCE = 0.8  # of the frames to be corrupted

Boxes = NDArray[np.int64]


def corrupted_frames(
    original: Path, form: Form, detector: FaceDetector, rng: np.random.Generator
) -> Iterator[Frames]:
    """The original with the mouth of other frames, upside down and noisy.

    From frame 15 on, up to 5 frames before the end, a box around the mouth shows the mouth of another frame,
    turned by 180 degrees, with Gaussian noise of standard deviation 20 that is new in each frame. The crop
    changes every 25 frames. Size and place of the box say nothing about the lips: one size for the clip, and
    a place that follows the rest of the face. In clips of fewer than 45 frames the first third and the last
    ninth stay as they are instead (:func:`corrupted_part`).

    Raises:
        UserError: the clip is too short, or shows too little of a face.
    """
    require_length(original, form)
    track = track_face(shown_frames(original, form), detector)
    boxes = mouth_boxes(track, form)
    known = np.isfinite(track.landmarks).all(axis=(1, 2))
    part = corrupted_part(form.count)
    if known[part.start : part.stop].mean() < _LEAST_PRESENCE:
        raise UserError(f"The video '{original}' shows too little of a face for a control: leave it out.")
    donors = choose_donors(known, rng)
    crops = _crops_of(shown_frames(original, form), boxes, set(donors))
    return _pasted(lambda: shown_frames(original, form), boxes, known, [crops[d] for d in donors], rng)


def require_length(original: Path, form: Form) -> None:
    """Refuse a clip that is too short for a control.

    Raises:
        UserError: it is.
    """
    if form.count < FEWEST_FRAMES:
        raise UserError(
            f"The video '{original}' shows {form.count} frames at 25 per second, but a listening test needs "
            f"{FEWEST_FRAMES}: leave this clip out."
        )


def corrupted_part(count: int) -> range:
    """The frames of a control that are corrupted, of ``count``."""
    return range(min(FIRST, count // 3), count - min(LAST, count // 9))


def choose_donors(known: NDArray[np.bool_], rng: np.random.Generator) -> list[int]:
    """For each stretch of 25 frames a frame with a face that lies outside it."""
    donors = []
    part = corrupted_part(len(known))
    for start in range(part.start, part.stop, HOLD):
        outside = known.copy()
        outside[start : start + HOLD] = False
        if not outside.any():
            raise UserError("A face is seen for too short a time for a control: leave this clip out.")
        donors.append(int(rng.choice(np.flatnonzero(outside))))
    return donors


def mouth_boxes(track: FaceTrack, form: Form) -> Boxes:
    """(N, 4) boxes x0 y0 x1 y1 inside the picture, all of one size; zeros where there is no face."""
    known = np.isfinite(track.landmarks).all(axis=(1, 2))
    boxes = np.zeros((len(track), 4), np.int64)
    if not known.any():
        return boxes
    points = track.landmarks[known][..., :2].astype(np.float64)
    mouth = points[:, list(MOUTH)]
    low, high = mouth.min(axis=1), mouth.max(axis=1)
    limit = np.array([form.width, form.height])
    side = np.minimum(np.ceil(_MARGIN * np.median(high - low, axis=0)).astype(np.int64), limit)
    anchor = points[:, list(RIGID_UPPER)].mean(axis=1)
    centre = anchor + np.median((low + high) / 2 - anchor, axis=0)
    corner = np.clip(np.rint(centre - side / 2).astype(np.int64), 0, limit - side)
    boxes[known] = np.concatenate([corner, corner + side], axis=1)
    return boxes


def _crops_of(frames: Iterator[Frames], boxes: Boxes, wanted: set[int]) -> dict[int, Frames]:
    crops = {}
    for index, image in enumerate(frames):
        if index in wanted:
            x0, y0, x1, y1 = boxes[index]
            crops[index] = image[y0:y1, x0:x1].copy()
    return crops


def _pasted(
    frames: Callable[[], Iterator[Frames]],
    boxes: Boxes,
    known: NDArray[np.bool_],
    crops: list[Frames],
    rng: np.random.Generator,
) -> Iterator[Frames]:
    part = corrupted_part(len(boxes))
    for index, image in enumerate(frames()):
        if index in part and known[index]:
            crop = crops[(index - part.start) // HOLD][::-1, ::-1]
            noisy = crop + rng.normal(0, NOISE, crop.shape)
            x0, y0, x1, y1 = boxes[index]
            image = image.copy()
            image[y0:y1, x0:x1] = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
        yield image
