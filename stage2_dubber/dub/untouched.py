"""Frames that a dub leaves as they are, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from common.face.people import Faces


class Reason(str, Enum):
    """Why frames are left alone."""

    no_face = "there is no face to dub"
    others = "only faces that are not dubbed are seen"
    short = "the face is seen too shortly"
    outside = "they are not in the part that is dubbed"


@dataclass(frozen=True)
class Untouched:
    """A stretch of frames that pass through.

    Attributes:
        first, last: frames, both of them untouched.
        start, end: seconds on the video's clock: of the first frame, and of the end of the last.
        reason: why.
        persons: the faces that are seen there, for :attr:`Reason.others`.
    """

    first: int
    last: int
    start: float
    end: float
    reason: Reason
    persons: tuple[int, ...] = ()

    def __len__(self) -> int:
        return self.last - self.first + 1


def find_untouched(
    faces: Faces,
    present: NDArray[np.bool_],
    dubbed: Sequence[range],
    times: NDArray[np.float64],
    end: float,
    parts: Sequence[range] = (),
) -> list[Untouched]:
    """The stretches that are not dubbed, in order.

    Args:
        faces: all of the clip.
        present: (N,) frames with the chosen face.
        dubbed: runs of frames that are dubbed.
        times: (N,) seconds of the frames.
        end: seconds at which the last frame ends.
        parts: the frames that are to be dubbed; none: all.
    """
    count = len(faces)
    seen: list[set[int]] = [set() for _ in range(count)]
    for stretch in faces.stretches:
        for frame in stretch.frames:
            seen[frame].add(stretch.person)
    done = np.zeros(count, bool)
    for run in dubbed:
        done[run.start : run.stop] = True
    wanted = np.full(count, not parts)
    for part in parts:
        wanted[part.start : part.stop] = True
    ends = np.append(times[1:], end)
    found: list[Untouched] = []
    for frame in np.flatnonzero(~done).tolist():
        if not wanted[frame]:
            reason, persons = Reason.outside, ()
        elif present[frame]:
            reason, persons = Reason.short, ()
        elif seen[frame]:
            reason, persons = Reason.others, tuple(sorted(seen[frame]))
        else:
            reason, persons = Reason.no_face, ()
        last = found[-1] if found else None
        if last and (last.last, last.reason, last.persons) == (frame - 1, reason, persons):
            found[-1] = Untouched(last.first, frame, last.start, float(ends[frame]), reason, persons)
        else:
            found.append(Untouched(frame, frame, float(times[frame]), float(ends[frame]), reason, persons))
    return found


def untouched_warning(untouched: Sequence[Untouched], frames: int) -> list[str]:
    """One sentence about them, or none where every frame is dubbed."""
    if not untouched:
        return []
    parts = []
    for reason in Reason:
        those = [item for item in untouched if item.reason is reason]
        if those:
            persons = sorted({person for item in those for person in item.persons})
            who = f" (face {', '.join(map(str, persons))})" if persons else ""
            parts.append(f"in {sum(map(len, those))} {reason.value}{who}")
    total = sum(map(len, untouched))
    return [f"{total} of {frames} frames pass through untouched: {', '.join(parts)}."]
