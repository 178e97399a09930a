"""What ``bootdub faces`` writes: a picture of all faces with their numbers, and a file to choose them in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from common.errors import UserError
from common.face.faces_file import write_faces
from common.face.people import Faces
from common.files import require_writable_dir
from common.media import VideoReader, contact_sheet, probe
from common.progress import ProgressCallback
from stage2_dubber.dub.faces.follow import FollowedFace, follow_face
from stage2_dubber.dub.request import DubRequest

_COLUMNS = 8
_SIDE = 128  # pixels of a face in the sheet
_MARGIN = 0.4  # of its box, on each side


@dataclass(frozen=True)
class FacesFound:
    """What was written.

    Attributes:
        file: the faces file.
        sheet: the picture.
        lines: one per person, for the user.
        warnings: sentences for the user.
    """

    file: Path
    sheet: Path
    lines: tuple[str, ...]
    warnings: tuple[str, ...]


def list_faces(
    request: DubRequest, file: Path, progress: ProgressCallback, overwrite: bool = False
) -> FacesFound:
    """Find all faces of the request's video; those that it would dub are marked in the file.

    Args:
        request: video, detector and choice of the face; its other fields do not matter.
        file: the .json to write; a .png of the same name goes beside it.
        progress: told about the search.
        overwrite: replace what exists.

    Raises:
        UserError: no face, or an output that cannot or must not be written.
    """
    sheet = file.with_suffix(".png")
    if file.suffix.lower() != ".json":
        raise UserError(f"The faces file '{file}' must end in .json: give it that ending.")
    for path in (file, sheet):
        if path.exists() and not overwrite:
            raise UserError(f"The output '{path}' exists already: give --overwrite to replace it.")
        require_writable_dir(path.parent)
    info = probe(request.video)
    request.face_choice.check(info.width, info.height)
    found = follow_face(request, progress)
    faces = found.faces
    rows = [(_label(found, person), pictures) for person, pictures in _pictures(request.video, faces).items()]
    contact_sheet(rows, sheet, columns=_COLUMNS, height=_SIDE)
    write_faces(file, faces, (info.width, info.height), found.chosen.stretches)
    return FacesFound(file, sheet, tuple(label for label, _ in rows), found.chosen.warnings)


def _label(found: FollowedFace, person: int) -> str:
    faces = found.faces
    indices = faces.of(person)
    frames = sum(len(faces.stretches[i]) for i in indices)
    side = np.median(np.concatenate([np.ptp(faces.stretches[i].boxes[:, [0, 2]], axis=1) for i in indices]))
    dubbed = sum(len(faces.stretches[i]) for i in indices if i in found.chosen.stretches)
    shots = len({faces.stretches[i].shot for i in indices})
    times = f"{shots} shot{'s' if shots > 1 else ''}"
    return f"face {person}: {frames} frames in {times}, {side:.0f} px wide" + (", dubbed" if dubbed else "")


def _pictures(video: Path, faces: Faces) -> dict[int, np.ndarray]:
    """A few pictures (n, 128, 128, 3) of each person, evenly over the frames that show it."""
    wanted: dict[int, list[tuple[int, np.ndarray]]] = {}
    for person in faces.persons:
        seen = [
            (int(frame), box)
            for i in faces.of(person)
            for frame, box in zip(faces.stretches[i].frames, faces.stretches[i].boxes, strict=True)
        ]
        for k in np.unique(np.linspace(0, len(seen) - 1, _COLUMNS).round().astype(int)):
            frame, box = sorted(seen, key=lambda item: item[0])[k]
            wanted.setdefault(frame, []).append((person, box))
    found: dict[int, list[np.ndarray]] = {person: [] for person in faces.persons}
    last = max(wanted)
    with VideoReader(video) as reader:
        for frame in reader:
            for person, box in wanted.get(frame.index, ()):
                found[person].append(_cut(frame.image, box))
            if frame.index == last:
                break
    return {person: np.stack(pictures) for person, pictures in found.items()}


def _cut(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    side = float((box[2:] - box[:2]).max()) * (1 + 2 * _MARGIN)
    middle = tuple(float(x) for x in (box[:2] + box[2:]) / 2)
    whole = max(1, round(side))
    cut = cv2.getRectSubPix(image, (whole, whole), middle)
    return np.asarray(cv2.resize(cut, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), np.uint8)
