"""What curation sees in a frame: how far a head is turned, how much of a face a hand covers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from common.face import build_detector
from common.face.graphs import import_solution
from common.face.pose import fit_pose
from common.face.quiet import without_chatter

Points = NDArray[np.float64]
Image = NDArray[np.uint8]


def largest_angle(landmarks: NDArray[np.floating]) -> float:
    """Largest of |pitch|, |yaw|, |roll| in degrees over frames (N, 68, 2 or 3): EdiDub, equation 3.

    The angles are those of the canonical head fitted to the rigid points: first yaw, then pitch, then roll
    about the picture's axes. EdiDub takes them from MediaPipe's transformation matrix, whose zero is the mean
    head of another collection.
    """
    rotations = fit_pose(landmarks).rotation
    angles = Rotation.from_matrix(rotations).as_euler("yxz", degrees=True)
    return float(np.abs(angles).max())


def covered_points(face: Points, hands: Sequence[Points]) -> int:
    """How many of the face's points (P, 2) lie within the convex hull of a hand's points (21, 2).

    A point under two hands counts once. EdiDub, appendix C.3. A hull's edge belongs to it.
    """
    if not hands or not len(face):
        return 0
    covered = np.zeros(len(face), bool)
    for hand in hands:
        hull = cv2.convexHull(np.asarray(hand, np.float32))
        covered |= [cv2.pointPolygonTest(hull, (float(x), float(y)), False) >= 0 for x, y in face]
    return int(covered.sum())


class PoseFinder(Protocol):
    def __call__(self, image: Image) -> NDArray[np.float32] | None:
        """The 68 points (68, 3) of the largest face of an RGB image; None where there is no face."""
        ...


class CoverFinder(Protocol):
    def __call__(self, image: Image) -> tuple[Points, list[Points]]:
        """Points of the face (P, 2), P = 0 where there is none, and of each hand (21, 2), in px."""
        ...


class MeshPose:
    """MediaPipe's mesh on single frames, as the 68 points."""

    def __init__(self) -> None:
        self._detector = build_detector("mediapipe", tracking=False)

    def __call__(self, image: Image) -> NDArray[np.float32] | None:
        faces = self._detector.detect(image)
        return faces[0].landmarks if faces else None


class HandsAndFace:
    """MediaPipe's hands and its face mesh of 468 points, each on single frames; models lie in the wheel."""

    def __init__(self, min_confidence: float = 0.5) -> None:
        with without_chatter():
            self._hands = import_solution("hands").Hands(
                static_image_mode=True, max_num_hands=4, min_detection_confidence=min_confidence
            )
            self._mesh = import_solution("face_mesh").FaceMesh(
                static_image_mode=True, max_num_faces=1, min_detection_confidence=min_confidence
            )
            # The graphs' threads print while they start.
            for graph in (self._hands, self._mesh):
                graph.process(np.zeros((64, 64, 3), np.uint8))

    def __call__(self, image: Image) -> tuple[Points, list[Points]]:
        picture = np.ascontiguousarray(image)
        size = np.array([image.shape[1], image.shape[0]], np.float64)

        def pixels(found: list) -> list[Points]:
            return [np.array([(p.x, p.y) for p in one.landmark]) * size - 0.5 for one in found]

        with without_chatter():
            hands = pixels(self._hands.process(picture).multi_hand_landmarks or [])
            faces = pixels(self._mesh.process(picture).multi_face_landmarks or []) if hands else []
        return (faces[0] if faces else np.zeros((0, 2))), hands
