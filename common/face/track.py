"""One person followed through a clip."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from common.errors import UserError
from common.face.jumps import repair
from common.face.types import FaceDetector, FaceObservation, FloatArray, ImageArray, box_area, box_iou
from common.files import PathLike, atomic_path, require_file
from common.shots import with_cuts

# The same face in the next frame overlaps itself by at least this much ...
_MIN_IOU = 0.2
# ... or has moved by less than this many of its sizes (fast motion of a small face), and
_MAX_MOVE = 0.6
# has about the same size.
_MAX_GROWTH = 1.6
# Cosine of ArcFace embeddings above which two faces are taken for one person.
SAME_PERSON = 0.3
# Weight of a new frame in the running mean of the person's embedding.
_EMBEDDING_MEMORY = 0.1


@dataclass(frozen=True)
class FaceTrack:
    """The followed face in N frames.

    Attributes:
        frame_indices: (N,) int64, index of each frame in the clip.
        landmarks: (N, 68, 3) float32 pixels, NaN rows where there is no face.
        boxes: (N, 4) float32 x0 y0 x1 y1 pixels, NaN rows where there is no face.
        present: (N,) bool; True also where a short gap was filled by interpolation.
        shots: (N,) int64, number of the shot that each frame belongs to, never decreasing; None: all are one.
    """

    frame_indices: NDArray[np.int64]
    landmarks: FloatArray
    boxes: FloatArray
    present: NDArray[np.bool_]
    shots: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.frame_indices)

    def __getitem__(self, part: slice) -> FaceTrack:
        shots = None if self.shots is None else self.shots[part]
        return FaceTrack(
            self.frame_indices[part], self.landmarks[part], self.boxes[part], self.present[part], shots
        )

    def within(self, parts: Iterable[range]) -> FaceTrack:
        """The same with no face outside these ranges of frames."""
        inside = np.zeros(len(self), bool)
        for part in parts:
            inside[part.start : part.stop] = True
        if inside.all():
            return self
        landmarks, boxes = self.landmarks.copy(), self.boxes.copy()
        landmarks[~inside], boxes[~inside] = np.nan, np.nan
        return FaceTrack(self.frame_indices, landmarks, boxes, self.present & inside, self.shots)

    def segments(self, min_frames: int = 1) -> list[slice]:
        """Runs of frames of one shot with a face, of at least ``min_frames``, in order."""
        shots = np.zeros(len(self), np.int64) if self.shots is None else self.shots
        # The shot's number where there is a face: a run is where that stays the same.
        label = np.concatenate([[-1], np.where(self.present, shots, -1), [-1]])
        edges = np.flatnonzero(np.diff(label))
        return [
            slice(int(a), int(b))
            for a, b in pairwise(edges)
            if label[a + 1] >= 0 and b - a >= max(min_frames, 1)
        ]

    def fills_shot(self, run: slice) -> bool:
        """Whether a run of frames is all of its shot."""
        if self.shots is None:
            return (run.start, run.stop) == (0, len(self))
        shots = self.shots
        begins = run.start == 0 or shots[run.start - 1] != shots[run.start]
        return bool(begins and (run.stop == len(self) or shots[run.stop] != shots[run.stop - 1]))

    def save(self, path: PathLike) -> None:
        """Write a safetensors file, whole or not at all."""
        arrays: dict[str, NDArray] = {
            "frame_indices": np.ascontiguousarray(self.frame_indices),
            "landmarks": np.ascontiguousarray(self.landmarks),
            "boxes": np.ascontiguousarray(self.boxes),
            "present": np.ascontiguousarray(self.present),
        }
        if self.shots is not None:
            arrays["shots"] = np.ascontiguousarray(self.shots)
        with atomic_path(path) as temporary:
            save_file(arrays, temporary, metadata={"format": "bootdub.face_track"})

    @classmethod
    def load(cls, path: PathLike) -> FaceTrack:
        """Read what :meth:`save` wrote.

        Raises:
            UserError: missing, or not a track.
        """
        source = require_file(path, "face track")
        arrays = load_arrays(source)
        missing = {"frame_indices", "landmarks", "boxes", "present"} - set(arrays)
        if missing:
            raise UserError(
                f"The face track '{source}' holds no '{min(missing)}': make it again with the face tracker."
            )
        return cls(
            arrays["frame_indices"],
            arrays["landmarks"],
            arrays["boxes"],
            arrays["present"],
            arrays.get("shots"),
        )


def load_arrays(source: Path, names: Collection[str] | None = None) -> dict[str, NDArray]:
    """Arrays of a safetensors file, those of ``names`` that it holds; UserError where it is none."""
    try:
        with safe_open(source, framework="np") as arrays:
            chosen = [key for key in arrays.keys() if names is None or key in names]  # noqa: SIM118 - no mapping
            return {key: arrays.get_tensor(key) for key in chosen}
    except SafetensorError as error:
        raise UserError(f"The file '{source}' is not a safetensors file ({error}): make it again.") from error


def require_face(track: FaceTrack, path: PathLike) -> FaceTrack:
    """Return ``track`` when it shows a face somewhere.

    Raises:
        UserError: no frame has a face; ``path`` is the clip that the message names.
    """
    if not track.present.any():
        raise no_face(path)
    return track


def no_face(path: PathLike, instead: str = "the 'box' face backend") -> UserError:
    """What to raise where no frame of ``path`` has a face; ``instead``: what tells its place."""
    return UserError(
        f"No face was found in '{path}': use a clip in which the face is visible, or give its place "
        f"with {instead}."
    )


Watch = Callable[[int, ImageArray, FaceObservation, int], None]
"""Called with each frame that shows the followed face: its index, the picture, what was seen, its shot."""


def track_face(
    images: Iterable[ImageArray], detector: FaceDetector, max_gap: int = 10, watch: Watch | None = None
) -> FaceTrack:
    """Follow one person through a clip, frame by frame (memory does not grow with the pictures).

    The largest face of the first frame that shows one is chosen. Afterwards the face that continues it
    (overlap, nearness, size; identity where the detector gives it) is taken, and no other for as long as the
    person has been lost for at most ``max_gap`` frames: one missed detection does not make another person
    the one that is followed. After a longer absence the person is sought anew: by identity where known, else
    the largest face; so they are at a hard cut. Landmarks that the detector has lost for a frame or two are
    mended (:mod:`common.face.jumps`). Gaps of at most ``max_gap`` frames within a shot are filled by linear
    interpolation; longer ones stay absent.

    Args:
        images: (H, W, 3) uint8 RGB frames of one clip, all of one size.
        detector: is reset first.
        max_gap: frames.
        watch: called with every frame that shows the person, so that the clip is decoded once.
    """
    detector.reset()
    landmarks: list[FloatArray] = []
    boxes: list[FloatArray] = []
    shots: list[int] = []
    person, shot = _Person(max_gap), 0
    for index, (image, cut) in enumerate(with_cuts(images)):
        if cut:
            shot += 1
            detector.new_shot()
            person.new_shot()
        shots.append(shot)
        seen = person.pick(detector.detect(image))
        if watch is not None and seen is not None:
            watch(index, image, seen, shot)
        landmarks.append(np.full((68, 3), np.nan, np.float32) if seen is None else seen.landmarks)
        boxes.append(np.full(4, np.nan, np.float32) if seen is None else seen.box)
    count = len(boxes)
    all_landmarks = np.asarray(landmarks, np.float32).reshape(count, 68, 3)
    all_boxes = np.asarray(boxes, np.float32).reshape(count, 4)
    present = np.isfinite(all_boxes).all(axis=1)
    track = FaceTrack(
        np.arange(count, dtype=np.int64), all_landmarks, all_boxes, present, np.asarray(shots, np.int64)
    )
    for number in range(shot + 1):
        seen_in = np.flatnonzero(track.present & (track.shots == number))
        values = all_landmarks[seen_in], all_boxes[seen_in]
        repair(*values, seen_in)
        all_landmarks[seen_in], all_boxes[seen_in] = values
    fill_gaps(track, max_gap)
    return track


class _Person:
    """What is remembered of the followed person."""

    def __init__(self, max_gap: int) -> None:
        self.max_gap = max_gap
        self.box: FloatArray | None = None
        self.embedding: FloatArray | None = None
        self.lost_for = 0

    def new_shot(self) -> None:
        """Nobody is where they were."""
        self.box = None

    def pick(self, faces: list[FaceObservation]) -> FaceObservation | None:
        chosen = self._choose(faces)
        if chosen is None:
            self.lost_for += 1
            return None
        self.lost_for = 0
        self.box = chosen.box
        if chosen.embedding is not None:
            if self.embedding is None:
                self.embedding = chosen.embedding
            else:
                mixed = self.embedding + _EMBEDDING_MEMORY * (chosen.embedding - self.embedding)
                self.embedding = (mixed / np.linalg.norm(mixed)).astype(np.float32)
        return chosen

    def _choose(self, faces: list[FaceObservation]) -> FaceObservation | None:
        faces = [face for face in faces if self._same_person(face)]
        if not faces:
            return None
        if self.box is None or self.lost_for > self.max_gap:
            return max(faces, key=lambda face: box_area(face.box))
        old = self.box
        near = [face for face in faces if continues(old, face.box)]
        return min(near, key=lambda face: distance(old, face.box), default=None)

    def _same_person(self, face: FaceObservation) -> bool:
        if self.embedding is None or face.embedding is None:
            return True
        # Near the last place a poor likeness (profile, blur) is accepted more readily than elsewhere.
        near = self.box is not None and self.lost_for <= self.max_gap and continues(self.box, face.box)
        return float(self.embedding @ face.embedding) >= (0.0 if near else SAME_PERSON)


def distance(a: FloatArray, b: FloatArray) -> float:
    """Pixels between the middles of two boxes."""
    return float(np.linalg.norm((a[:2] + a[2:] - b[:2] - b[2:]) / 2))


def continues(old: FloatArray, new: FloatArray) -> bool:
    """Whether the face in box ``new`` may be the one that was in ``old`` a few frames earlier."""
    size_old, size_new = np.sqrt(box_area(old)), np.sqrt(box_area(new))
    if not 1 / _MAX_GROWTH <= size_new / max(size_old, 1e-6) <= _MAX_GROWTH:
        return False
    return box_iou(old, new) >= _MIN_IOU or distance(old, new) <= _MAX_MOVE * size_old


def fill_gaps(track: FaceTrack, max_gap: int) -> None:
    """Interpolate, in place, runs of at most ``max_gap`` absent frames with a face before and after."""
    shots = np.zeros(len(track)) if track.shots is None else track.shots
    known = np.flatnonzero(track.present)
    for before, after in pairwise(known):
        if not 1 < after - before <= max_gap + 1 or shots[before] != shots[after]:
            continue
        share = (np.arange(before + 1, after) - before) / (after - before)
        for values in (track.landmarks, track.boxes):
            weight = share.reshape(-1, *[1] * (values.ndim - 1))
            values[before + 1 : after] = values[before] * (1 - weight) + values[after] * weight
        track.present[before + 1 : after] = True
