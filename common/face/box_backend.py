"""The user's own face boxes or landmarks, for faces that no detector finds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from common.face.box_flow import BoxFlow
from common.face.canonical import face_in_box
from common.face.faces_file import LARGEST, is_faces_file, read_listed_faces
from common.face.track import load_arrays
from common.face.types import FaceObservation, FloatArray, ImageArray, box_iou, landmarks_box
from common.files import PathLike, read_json, require_file

if TYPE_CHECKING:
    from common.face.mediapipe_backend import MediapipeDetector

# A lower score is enough where the user says that there is a face.
_MESH_CONFIDENCE = 0.2
# Of the mesh's box with the user's, as a share of both: less is another face.
_LEAST_OVERLAP = 0.3


class BoxDetector:
    """Returns the face that the user gave, frame by frame.

    Frames are counted: the k-th :meth:`detect` after a :meth:`reset` answers for frame k.

    Args:
        box: x0, y0, x1, y1 in pixels, brows to chin and temple to temple, the same in every frame; or
        track_file: JSON or safetensors with ``boxes`` (N, 4) and/or ``landmarks`` (N, 68, 3), one row per
            frame; a row of NaN (in JSON also ``null``) says that this frame shows no face. A track saved by
            the tracker works, and so does the file of :mod:`common.face.faces_file`.

    With ``follow`` the box is that of the first frame and is carried along by optical flow, until a cut.

    Where only a box is known, the 68 points are the canonical face placed in it; with ``mesh`` they are
    measured by MediaPipe's mesh on the box's surroundings, if it sees a face there. In a frame in which it
    does not, those of the last frame are moved along with the box.

    Raises:
        UserError: neither or both options, or a file that is no such track.
    """

    name = "box"

    def __init__(
        self,
        box: Any = None,
        track_file: PathLike | None = None,
        mesh: bool = False,
        follow: bool = False,
    ) -> None:
        if (box is None) == (track_file is None or track_file == ""):
            raise UserError(
                "The 'box' face detector needs either box=[x0, y0, x1, y1] or track_file=PATH, and not both."
            )
        self._frame = 0
        self._source: Path | None = None
        self._box: FloatArray | None = None
        self._flow: BoxFlow | None = None
        self._boxes: FloatArray | None = None
        self._landmarks: FloatArray | None = None
        self._persons: NDArray[np.int64] | None = None
        self._mesh = _build_mesh() if mesh else None
        self._last: FaceObservation | None = None
        if box is not None:
            self._box = _valid_box(box)
            self._flow = BoxFlow(self._box) if follow else None
        else:
            assert track_file is not None
            self._source = require_file(track_file, "face track")
            self._boxes, self._landmarks, self._persons = _read_track(self._source)

    def reset(self) -> None:
        """Start again at frame 0."""
        self._frame, self._last = 0, None
        if self._flow is not None:
            self._flow.restart()

    def new_shot(self) -> None:
        """Forget what the mesh has seen; frames are counted on. A box that is followed is lost."""
        self._last = None
        if self._flow is not None:
            self._flow.lose()

    def check(self, width: int, height: int, frames: int) -> None:
        """Compare what the user says with the clip, before any work.

        Args:
            width, height: of the picture, pixels.
            frames: of the clip.

        Raises:
            UserError: a box lies outside the picture, or the track has not one row per frame.
        """
        if self._box is not None and not _touches(self._box, width, height):
            raise UserError(
                f"The face box {_words(self._box)} lies outside the picture of {width}x{height} pixels: give "
                "x0,y0,x1,y1 in pixels of the upright picture."
            )
        known = self._landmarks if self._landmarks is not None else self._boxes
        if known is None:
            return
        if len(known) != frames:
            raise UserError(
                f"The face track '{self._source}' has {len(known)} rows, but the clip has {frames} frames: "
                "give one row per frame, NaN where there is no face."
            )
        for row, box in enumerate(() if self._boxes is None else self._boxes):
            if np.isfinite(box).all() and not _touches(box, width, height):
                raise UserError(
                    f"The face track '{self._source}' has a box outside the picture of {width}x{height} "
                    f"pixels in row {row}, {_words(box)}: mend it, or give NaN where there is no face."
                )

    def detect(self, image: ImageArray) -> list[FaceObservation]:
        """The one face of the next frame, or none.

        Raises:
            UserError: the clip has more frames than the track.
        """
        frame = self._frame
        self._frame += 1
        if self._box is not None:
            box = self._box if self._flow is None else self._flow.follow(image)
            return [] if box is None else [self._in_box(image, box)]
        known = self._landmarks if self._landmarks is not None else self._boxes
        assert known is not None
        if frame >= len(known):
            raise UserError(
                f"The face track '{self._source}' ends after {len(known)} frames but the clip goes on: "
                "give one row per frame, NaN where there is no face."
            )
        if self._landmarks is not None and np.isfinite(self._landmarks[frame]).all():
            points = self._landmarks[frame]
            return [FaceObservation(landmarks_box(points), points, 1.0)]
        if self._boxes is not None and np.isfinite(self._boxes[frame]).all():
            seen = self._in_box(image, self._boxes[frame])
            return [seen if self._persons is None else replace(seen, person=int(self._persons[frame]))]
        return []

    def _in_box(self, image: ImageArray, box: FloatArray) -> FaceObservation:
        seen = None if self._mesh is None else self._mesh.look_at(image, box)
        if seen is not None and box_iou(seen.box, box) >= _LEAST_OVERLAP:
            self._last = FaceObservation(box, seen.landmarks, 1.0)
            return self._last
        points = face_in_box(box) if self._last is None else _moved(self._last, box)
        return FaceObservation(box, points, 1.0, measured=False)


def _build_mesh() -> MediapipeDetector:
    # Imported here: a box alone needs no MediaPipe.
    from common.face.mediapipe_backend import MediapipeDetector

    return MediapipeDetector(max_faces=1, min_confidence=_MESH_CONFIDENCE, tracking=False, search_small=False)


def _moved(seen: FaceObservation, box: FloatArray) -> FloatArray:
    """Landmarks of another frame moved and scaled as their box has been."""
    scale = float(np.mean((box[2:] - box[:2]) / (seen.box[2:] - seen.box[:2])))
    points = seen.landmarks * scale
    points[:, :2] += (box[:2] + box[2:]) / 2 - scale * (seen.box[:2] + seen.box[2:]) / 2
    return points


def _touches(box: FloatArray, width: int, height: int) -> bool:
    return bool(box[0] < width and box[1] < height and box[2] > 0 and box[3] > 0)


def _words(box: FloatArray) -> str:
    return ",".join(f"{value:g}" for value in box)


def _valid_box(box: Any) -> FloatArray:
    try:
        values = np.asarray(list(box), np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"The face box {box!r} is not four numbers x0, y0, x1, y1 in pixels.") from error
    if values.shape != (4,) or not np.isfinite(values).all():
        raise UserError(f"The face box {box!r} is not four numbers x0, y0, x1, y1 in pixels.")
    if values[2] <= values[0] or values[3] <= values[1]:
        raise UserError(f"The face box {box!r} is empty: x1 must be larger than x0, y1 larger than y0.")
    return values


def _read_track(source: Path) -> tuple[FloatArray | None, FloatArray | None, NDArray[np.int64] | None]:
    """Boxes, landmarks and numbers of persons, those that the file gives."""
    if source.suffix.lower() == ".json":
        content = read_json(source)
        if is_faces_file(content):
            listed = read_listed_faces(source)
            return listed.boxes, None, listed.persons
        if not isinstance(content, dict):
            raise UserError(
                f"The face track '{source}' must be an object like {{\"boxes\": [[x0, y0, x1, y1], ...]}}."
            )
        raw = {key: _rows(content[key], source, key) for key in ("boxes", "landmarks") if key in content}
    else:
        raw = load_arrays(source, ("boxes", "landmarks"))
    if not raw:
        raise UserError(f"The face track '{source}' holds neither 'boxes' nor 'landmarks': give one of them.")
    for key, shape in (("boxes", (4,)), ("landmarks", (68, 3))):
        if key in raw and (raw[key].shape[1:] != shape or raw[key].dtype.kind not in "fiu"):
            wanted = " x ".join(["frames", *map(str, shape)])
            raise UserError(
                f"The face track '{source}' has '{key}' of shape {raw[key].shape}: "
                f"it must be {wanted} numbers."
            )
        if key in raw and (np.abs(raw[key]) > LARGEST).any():
            raise UserError(
                f"The face track '{source}' has '{key}' with numbers beyond {LARGEST:g}: give pixels, NaN "
                "where there is no face."
            )
    if len({len(rows) for rows in raw.values()}) > 1:
        raise UserError(
            f"The face track '{source}' has 'boxes' and 'landmarks' of different lengths: make them equal."
        )
    boxes, landmarks = (raw[key].astype(np.float32) if key in raw else None for key in ("boxes", "landmarks"))
    if boxes is not None:
        empty = (boxes[:, 2:] <= boxes[:, :2]).any(axis=1)
        if empty.any():
            row = int(np.flatnonzero(empty)[0])
            raise UserError(
                f"The face track '{source}' has an empty box in row {row}: x1 > x0 and y1 > y0 must hold."
            )
    return boxes, landmarks, None


def _rows(value: Any, source: Path, key: str) -> NDArray:
    """JSON rows as an array; null rows become NaN."""
    shape = (4,) if key == "boxes" else (68, 3)
    if not isinstance(value, list):
        raise UserError(f"The face track '{source}' has '{key}' that is no list: give one row per frame.")
    try:
        rows = [np.full(shape, np.nan) if row is None else np.asarray(row, np.float64) for row in value]
        return np.stack(rows) if rows else np.zeros((0, *shape))
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(
            f"The face track '{source}' has '{key}' with rows that are not all {shape} numbers."
        ) from error
