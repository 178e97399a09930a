"""What a face detector sees and how every detector is called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from common.face.layout import NUM_POINTS

FloatArray = NDArray[np.float32]
ImageArray = NDArray[np.uint8]


@dataclass(frozen=True)
class FaceObservation:
    """One face in one image.

    Attributes:
        box: (4,) float32, x0 y0 x1 y1 in pixels, around the 68 points (brows to chin, temple to temple).
        landmarks: (68, 3) float32, iBUG layout. x and y in pixels (an integer is the centre of a pixel,
            OpenCV's convention), z in the same scale, smaller = nearer to the camera, with an arbitrary
            origin.
        score: confidence in [0, 1]; 1 where the backend reports none.
        embedding: identity vector of unit length, or None where the backend has none.
        measured: whether the landmarks were seen in the image; False where they are a neutral face that was
            placed in a box.
        person: number of the person, where the user says whose face it is; 0: nobody says.
    """

    box: FloatArray
    landmarks: FloatArray
    score: float
    embedding: FloatArray | None = None
    measured: bool = True
    person: int = 0

    def __post_init__(self) -> None:
        if self.box.shape != (4,) or self.landmarks.shape != (NUM_POINTS, 3):
            raise ValueError(
                f"box {self.box.shape} must be (4,), landmarks {self.landmarks.shape} ({NUM_POINTS}, 3)"
            )


class FaceDetector(Protocol):
    """Finds all faces of an image. Frames of one clip are given in order.

    A detector may carry state from frame to frame (tracking); :meth:`reset` starts a new clip, so that the
    result of a clip never depends on what was looked at before, and :meth:`new_shot` a new shot of the same
    clip: the next picture shows another place.
    """

    @property
    def name(self) -> str: ...

    def reset(self) -> None: ...

    def new_shot(self) -> None: ...

    def detect(self, image: ImageArray) -> list[FaceObservation]:
        """Faces of ``image`` (height, width, 3) uint8 RGB; an empty list where there is none."""
        ...


def box_iou(a: FloatArray, b: FloatArray) -> float:
    """Intersection of two boxes x0 y0 x1 y1 over their union, 0 to 1."""
    overlap = float((np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])).clip(min=0).prod())
    return overlap / max(box_area(a) + box_area(b) - overlap, 1e-6)


def box_area(box: FloatArray) -> float:
    """Square pixels of a box x0 y0 x1 y1."""
    return float((box[2] - box[0]) * (box[3] - box[1]))


def landmarks_box(landmarks: FloatArray) -> FloatArray:
    """Bounding box x0 y0 x1 y1 of (..., 68, 3) landmarks, shape (..., 4)."""
    low, high = landmarks[..., :2].min(axis=-2), landmarks[..., :2].max(axis=-2)
    return np.concatenate([low, high], axis=-1).astype(np.float32)
