"""MediaPipe: face mesh and face detector, both with their models inside the wheel (no download)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from common.errors import UserError
from common.face.graphs import close_with, import_solution
from common.face.quiet import landmarks_found, without_chatter
from common.face.types import FaceObservation, FloatArray, ImageArray, box_area, box_iou, landmarks_box

# Vertex of the 478-point mesh for each iBUG point. The jaw line takes the vertices of the face's outline that
# lie nearest to nine equal arcs from temple to chin.
MESH_TO_68 = (
    *(127, 234, 93, 58, 172, 136, 149, 176, 152, 400, 378, 365, 397, 288, 323, 454, 356),
    *(70, 63, 105, 66, 107),
    *(336, 296, 334, 293, 300),
    *(168, 197, 5, 4),
    *(98, 97, 2, 326, 327),
    *(33, 160, 158, 133, 153, 144),
    *(362, 385, 387, 263, 373, 380),
    *(61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91),
    *(78, 81, 13, 311, 308, 402, 14, 178),
)

# The mesh's own detector sees faces of at least about this share of the picture; smaller ones are cut out
# first.
_CROP_OVER_BOX = 2.0
_CROP_SIDE = 256
# Two findings are one face when they overlap by more than this.
_SAME_FACE_IOU = 0.4
# Tiles over the shorter side of a wide shot, before overlap: a face of 1/24 of that side is still found.
_TILES = 2
# Of pictures with at least this shorter side finer tiles are searched, too: a face of 60 px in 2160 lines.
_LARGE, _FINE_TILES = 1440, 4
# While a search finds nothing, only every so many frames are searched: frames without anybody must not cost
# more than those with a face.
_SEARCH_EVERY = 5
_LANDMARKS = "multi_face_landmarks"


class _Graph:
    """One MediaPipe solution, kept quiet.

    Its threads print while they start; the first of all graphs to meet a face in a picture that is not square
    prints once more.
    """

    _settled = False

    def __init__(self, solution: Any, faces_of: str) -> None:
        self._solution = solution
        self._faces_of = faces_of
        close_with(self, solution)
        self._start()

    def _start(self) -> None:
        # Returns only when all threads of the graph have started.
        self._solution.process(np.zeros((64, 64, 3), np.uint8))

    def restart(self) -> None:
        """Forget what was tracked."""
        with without_chatter():
            self._solution.reset()
            self._start()

    def faces(self, image: ImageArray) -> list[Any]:
        with nullcontext() if _Graph._settled else without_chatter():
            result = self._solution.process(image)
        found = list(getattr(result, self._faces_of) or [])
        if found and self._faces_of == _LANDMARKS:
            landmarks_found()
        _Graph._settled |= bool(found) and image.shape[0] != image.shape[1]
        return found


@dataclass(frozen=True)
class _Square:
    """A square of the picture, corner and side in whole pixels; it may reach outside."""

    left: int
    top: int
    side: int

    def cut(self, image: ImageArray) -> ImageArray:
        height, width = image.shape[:2]
        x0, y0 = max(self.left, 0), max(self.top, 0)
        x1, y1 = min(self.left + self.side, width), min(self.top + self.side, height)
        inside = image[y0:y1, x0:x1]
        borders = (y0 - self.top, self.top + self.side - y1, x0 - self.left, self.left + self.side - x1)
        return np.asarray(
            cv2.copyMakeBorder(inside, *borders, cv2.BORDER_CONSTANT, value=(0, 0, 0)), np.uint8
        )


class MediapipeDetector:
    """Face mesh on the whole picture, and on enlarged cut-outs where that shows it no face.

    In a wide shot the mesh's own detector is blind to small faces. Then cut-outs around the faces of the
    frame before are tried, and after them the face detector looks for small ones, in the picture and in
    overlapping tiles of it. A small face beside a large one that the mesh sees is not looked for.

    Args:
        max_faces: at most this many faces per picture.
        min_confidence: of detector and mesh, in (0, 1).
        tracking: let the mesh follow faces from frame to frame; False treats every picture by itself.
        search_small: look for small faces where there is no large one.
    """

    name = "mediapipe"

    def __init__(
        self,
        max_faces: int = 4,
        min_confidence: float = 0.5,
        tracking: bool = True,
        search_small: bool = True,
    ) -> None:
        if max_faces < 1 or not 0 < min_confidence < 1:
            raise UserError(
                f"The mediapipe options max_faces={max_faces} and min_confidence={min_confidence} are out of "
                "range: max_faces must be at least 1 and min_confidence between 0 and 1."
            )
        self._max_faces = max_faces
        self._search_small = search_small
        self._tracking = tracking
        with without_chatter():
            face_mesh, face_detection = import_solution("face_mesh"), import_solution("face_detection")

            def mesh(still: bool, faces: int) -> _Graph:
                solution = face_mesh.FaceMesh(
                    static_image_mode=still,
                    max_num_faces=faces,
                    refine_landmarks=True,
                    min_detection_confidence=min_confidence,
                    min_tracking_confidence=min_confidence,
                )
                return _Graph(solution, _LANDMARKS)

            def finder() -> _Graph:
                # Model 1 is the one for faces that are farther away than 2 m.
                solution = face_detection.FaceDetection(
                    min_detection_confidence=min_confidence, model_selection=1
                )
                return _Graph(solution, "detections")

            self._mesh = mesh(not tracking, max_faces)
            self._cutout_mesh = mesh(True, 1)
            # Model 1 sees faces up to 5 m away, model 0 up to 2 m.
            self._finder = finder()
        self._fresh = True
        # Faces of the last frame, and frames left until the next search for small ones.
        self._followed: list[FaceObservation] = []
        self._rest = 0

    def reset(self) -> None:
        """Forget the clip so far."""
        self._followed, self._rest = [], 0
        if not self._fresh:
            self._mesh.restart()
            self._fresh = True

    def new_shot(self) -> None:
        """Forget the clip so far: nothing is where it was."""
        self.reset()

    def detect(self, image: ImageArray) -> list[FaceObservation]:
        """Faces of an RGB picture, largest first; see :class:`common.face.types.FaceDetector`."""
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"an image must be (H, W, 3) uint8, not {image.shape} {image.dtype}")
        image = np.ascontiguousarray(image)
        self._fresh = False
        faces = [_observe(points, 1.0) for points in _run_mesh(self._mesh, image)]
        if faces or not self._search_small:
            self._rest = 0
        elif not (faces := self._follow(image)) and self._rest == 0:
            faces = self._search(image)
            self._rest = 0 if faces or not self._tracking else _SEARCH_EVERY
        faces = sorted(faces, key=lambda face: -box_area(face.box))[: self._max_faces]
        self._followed, self._rest = (faces if self._tracking else []), max(self._rest - 1, 0)
        return faces

    def _follow(self, image: ImageArray) -> list[FaceObservation]:
        seen = [self.look_at(image, face.box, face.score) for face in self._followed]
        # All or none: a lost neighbour may have moved, so search for all again.
        found = [face for face in seen if face is not None]
        return found if len(found) == len(seen) else []

    def _search(self, image: ImageArray) -> list[FaceObservation]:
        """Faces in the whole picture, else in overlapping tiles of it, else in finer ones of a large picture.

        What the finder takes for a face and the mesh does not is none, and ends no search.
        """
        height, width = image.shape[:2]
        faces: list[FaceObservation] = []
        for squares in _grids(height, width):
            boxes = [
                (_box_of(face, square), float(face.score[0]))
                for square in squares
                for face in self._finder.faces(square.cut(image))
            ]
            for box, score in sorted(boxes, key=lambda found: -found[1]):
                face = self.look_at(image, box, score)
                if face is not None and all(box_iou(face.box, other.box) < _SAME_FACE_IOU for other in faces):
                    faces.append(face)
            if faces:
                break
        return faces

    def look_at(self, image: ImageArray, box: FloatArray, score: float = 1.0) -> FaceObservation | None:
        """The mesh on an enlarged cut-out around ``box``; None where it sees no face there."""
        side = max(round(float((box[2:] - box[:2]).max()) * _CROP_OVER_BOX), 8)
        middle = (box[:2] + box[2:]) / 2
        square = _Square(round(float(middle[0]) - side / 2), round(float(middle[1]) - side / 2), side)
        kind = cv2.INTER_AREA if side > _CROP_SIDE else cv2.INTER_CUBIC
        picture = np.asarray(
            cv2.resize(square.cut(image), (_CROP_SIDE, _CROP_SIDE), interpolation=kind), np.uint8
        )
        for points in _run_mesh(self._cutout_mesh, picture):
            # Pixel centres: (x + 1/2) scales, not x.
            scale = side / _CROP_SIDE
            points *= scale
            points[:, :2] += (scale - 1) / 2 + np.array([square.left, square.top], np.float32)
            return _observe(points, score)
        return None


def _run_mesh(mesh: _Graph, image: ImageArray) -> list[FloatArray]:
    """Landmarks (68, 3) in pixels of every face the mesh sees."""
    height, width = image.shape[:2]
    faces = []
    for face in mesh.faces(image):
        points = [face.landmark[vertex] for vertex in MESH_TO_68]
        # The mesh's z is given in units of the picture's width, like x.
        pixels = np.array([(p.x * width, p.y * height, p.z * width) for p in points], np.float32)
        # The mesh measures from the corner of the first pixel, this package from its centre.
        pixels[:, :2] -= 0.5
        faces.append(pixels)
    return faces


def _observe(points: FloatArray, score: float) -> FaceObservation:
    return FaceObservation(landmarks_box(points), points, score)


def _box_of(detection: Any, square: _Square) -> FloatArray:
    box = detection.location_data.relative_bounding_box
    corner = np.array([box.xmin, box.ymin]) * square.side + (square.left, square.top) - 0.5
    return np.concatenate([corner, corner + np.array([box.width, box.height]) * square.side]).astype(
        np.float32
    )


def _grids(height: int, width: int) -> Iterator[list[_Square]]:
    """The squares in which small faces are sought, coarse ones first."""
    yield [_Square(0, 0, max(height, width))]
    yield _tiles(height, width, _TILES, 2)
    if min(height, width) >= _LARGE:
        yield _tiles(height, width, _FINE_TILES, 4)


def _tiles(height: int, width: int, grid: int, overlap: int) -> list[_Square]:
    """Square tiles, ``grid`` of them over the shorter side, overlapping by a share of 1 / ``overlap``."""
    side = min(height, width) // grid
    shared = side // overlap
    columns, rows = (
        np.linspace(0, length - side, int(np.ceil((length - shared) / (side - shared)))).round().astype(int)
        for length in (width, height)
    )
    return [_Square(int(x), int(y), side) for y in rows for x in columns]
