"""The file in which ``bootdub faces`` says what faces a video shows, and the user which of them are meant."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from common.face.people import Faces
from common.files import PathLike, read_json, write_json

FORMAT = "bootdub.faces.1"
_EVERY = 10
"""Frames between two boxes that are written; between them they go on a straight line."""
LARGEST = 1e6
"""Pixels; a number beyond that is no place in a picture."""
_MOST_FRAMES = 10_000_000
"""Two days at 60 per second."""
_MOST_PERSONS = 1_000_000


def write_faces(path: PathLike, faces: Faces, size: tuple[int, int], chosen: tuple[int, ...]) -> None:
    """Write all faces; ``chosen`` stretches are marked as to be dubbed. ``size``: width and height, pixels.

    One entry per face and shot: number of the person, first and last frame, and boxes (x0, y0, x1, y1 in
    pixels) at some frames.
    """
    entries = []
    for index, stretch in enumerate(faces.stretches):
        rows = sorted({*range(0, len(stretch), _EVERY), len(stretch) - 1})
        boxes = {str(stretch.frames[r]): [round(float(x), 1) for x in stretch.boxes[r]] for r in rows}
        entries.append(
            {
                "id": stretch.person,
                "dub": index in chosen,
                "shot": stretch.shot,
                "first": int(stretch.frames[0]),
                "last": int(stretch.frames[-1]),
                "boxes": boxes,
            }
        )
    width, height = size
    write_json(
        path, {"format": FORMAT, "frames": len(faces), "width": width, "height": height, "faces": entries}
    )


def is_faces_file(content: Any) -> bool:
    """Whether JSON content is such a file."""
    return isinstance(content, dict) and "faces" in content


@dataclass(frozen=True)
class ListedFaces:
    """The face to dub in each of N frames.

    Attributes:
        boxes: (N, 4) float32 x0 y0 x1 y1 pixels, NaN where there is none.
        persons: (N,) int64 number of the person, 0 where there is none.
    """

    boxes: NDArray[np.float32]
    persons: NDArray[np.int64]


def read_listed_faces(path: Path) -> ListedFaces:
    """What such a file says; entries without a number share one that no other has.

    Raises:
        UserError: it is no such file, or two faces are to be dubbed in one frame.
    """
    content = read_json(path)
    if not is_faces_file(content):
        raise UserError(f"The file '{path}' holds no 'faces': give one that 'bootdub faces' has written.")
    frames, entries = content.get("frames"), content["faces"]
    if not _is_count(frames) or not 1 <= frames <= _MOST_FRAMES or not isinstance(entries, list):
        raise UserError(
            f"The faces file '{path}' must give 'frames', a number, and 'faces', a list: mend it."
        )
    boxes, persons = np.full((frames, 4), np.nan, np.float32), np.zeros(frames, np.int64)
    numbers = [_number(entry) for entry in entries]
    unused = max(filter(None, numbers), default=0) + 1
    for number, entry in enumerate(entries):
        if isinstance(entry, dict) and entry.get("dub") is False:
            continue
        name = f"The faces file '{path}', entry {number + 1} of 'faces',"
        part, rows = _entry(entry, frames, name)
        person = numbers[number]
        if person is None and "id" in entry:
            raise UserError(f"{name} must give 'id', a number from 1 to {_MOST_PERSONS}: mend it.")
        taken = np.isfinite(boxes[part]).all(axis=1)
        if taken.any():
            frame = part.start + int(np.argmax(taken))
            raise UserError(
                f"The faces file '{path}' has two faces to dub in frame {frame}: "
                'set "dub" to false in one of them.'
            )
        boxes[part], persons[part] = rows, person or unused
    if not np.isfinite(boxes).any():
        raise UserError(
            f"The faces file '{path}' says of no face that it is to be dubbed: set \"dub\" to true."
        )
    return ListedFaces(boxes, persons)


def _number(entry: Any) -> int | None:
    """The number of an entry's person; None where it gives none that makes sense."""
    number = entry.get("id") if isinstance(entry, dict) else None
    return number if _is_count(number) and 1 <= number <= _MOST_PERSONS else None


def _entry(entry: Any, frames: int, name: str) -> tuple[slice, NDArray[np.float64]]:
    """The frames of one face and its boxes in them."""
    if not isinstance(entry, dict):
        raise UserError(f"{name} is no object: mend it or take it out.")
    first, last, boxes = entry.get("first"), entry.get("last"), entry.get("boxes")
    if not _is_count(first) or not _is_count(last) or not 0 <= first <= last < frames:
        raise UserError(f"{name} must give 'first' and 'last', frames from 0 to {frames - 1}: mend it.")
    try:
        if not isinstance(boxes, dict) or not boxes:
            raise ValueError
        known = {int(frame): np.asarray(box, np.float64) for frame, box in boxes.items()}
        table = np.stack([known[frame] for frame in sorted(known)])
        if table.shape[1:] != (4,) or not (np.abs(table) <= LARGEST).all():
            raise ValueError
        if (table[:, 2:] <= table[:, :2]).any():
            raise ValueError
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(
            f"{name} must give 'boxes', at least one frame with x0, y0, x1, y1 in pixels, x1 above x0 and "
            "y1 above y0: mend it."
        ) from error
    at = np.arange(first, last + 1)
    return slice(first, last + 1), np.stack(
        [np.interp(at, sorted(known), column) for column in table.T], axis=1
    )


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
