"""What a dub has done, frame by frame, for people and programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from common.files import PathLike, write_json
from common.media.retiming import Retiming
from common.own_mouths.config import Renderer
from stage2_dubber.dub.dubbed import DubbedFace, DubbedFaces
from stage2_dubber.dub.inputs import DubInputs
from stage2_dubber.dub.outputs import JobOutputs
from stage2_dubber.dub.provenance.provenance import Provenance
from stage2_dubber.dub.untouched import Untouched

BOTH = "passage"
"""Frames in which own mouths fade into the editor's pictures or back."""


@dataclass(frozen=True)
class Drawn:
    """A stretch of frames that one renderer has drawn.

    Attributes:
        first, last: its frames.
        start, end: seconds on the video's clock.
        renderer: "own-mouths", "editor", or "passage" between the two.
        faces: the number of the face.
    """

    first: int
    last: int
    start: float
    end: float
    renderer: str
    faces: tuple[int, ...]


@dataclass(frozen=True)
class ShownStretch:
    """A stretch of frames, and those of the source that they show; backward where the last is the smaller.

    Attributes:
        first, last: frames of the output.
        source_first, source_last: frames of the source.
    """

    first: int
    last: int
    source_first: int
    source_last: int


@dataclass(frozen=True)
class DubReport:
    """One finished job.

    Attributes:
        frames: frames of the output, those of the source unless ``shown`` says otherwise.
        dubbed_frames: how many show an edited face.
        faces: numbers of the faces that are dubbed, as in ``bootdub faces``.
        shots: first frames of the video's shots.
        drawn: who drew what, in order; one face after the other.
        untouched: what was left alone and why, in order.
        lost: sentences about what the output could not keep of the source.
        warnings: all sentences for the user; those about losses are among them.
        shown: which frames of the source are shown, where they are not shown once in their order.
        provenance: what the output says about itself.
        copied_frames: how many are not encoded anew, but as they are coded in the source.
        refined_by: the package that has refined the lips of all dubbed frames; empty: none.
    """

    frames: int
    dubbed_frames: int
    faces: tuple[int, ...]
    shots: tuple[int, ...]
    drawn: tuple[Drawn, ...]
    untouched: tuple[Untouched, ...]
    lost: tuple[str, ...]
    warnings: tuple[str, ...]
    shown: tuple[ShownStretch, ...] = ()
    provenance: str = ""
    copied_frames: int = 0
    refined_by: str = ""

    @classmethod
    def of(
        cls,
        faces: DubbedFaces,
        frames: int,
        inputs: DubInputs,
        provenance: Provenance,
        outputs: JobOutputs,
        refined_by: str = "",
    ) -> DubReport:
        """The report of a job that has written so many ``frames``."""
        followed = faces.faces[0].followed
        return cls(
            frames,
            len(faces.frames),
            tuple(sorted({person for face in faces.faces for person in face.persons})),
            tuple(np.flatnonzero(np.diff(followed.faces.shots, prepend=-1)).tolist()),
            tuple(drawn for face in faces.faces for drawn in _drawn(face)),
            faces.untouched,
            inputs.lost,
            (*inputs.warnings, *faces.warnings, *filter(None, [outputs.not_copied])),
            tuple(shown_stretches(inputs.retiming)),
            provenance.sentence,
            outputs.copied_frames,
            refined_by,
        )

    def save(self, path: PathLike) -> None:
        """Write JSON, whole or not at all."""
        write_json(path, self)


def shown_stretches(retiming: Retiming | None) -> list[ShownStretch]:
    """Which frames of the source are shown; empty where it is the source itself."""
    if retiming is None:
        return []
    shown = retiming.shown.tolist()
    return [
        ShownStretch(run.start, run.stop - 1, shown[run.start], shown[run.stop - 1])
        for run, _ in retiming.runs
    ]


def drawn_stretches(
    runs: Sequence[range],
    persons: Sequence[int],
    opacity: Mapping[int, float] | None,
    times: NDArray[np.float64],
    end: float,
) -> list[Drawn]:
    """Who draws the frames of ``runs``.

    Args:
        runs: frames in which a face is dubbed.
        persons: the number of the face in each of them.
        opacity: frame -> share of own mouths; None: the editor draws all.
        times: (N,) seconds of the video's frames.
        end: seconds at which the last one ends.
    """
    ends = np.append(times[1:], end)
    found: list[Drawn] = []
    for run, person in zip(runs, persons, strict=True):
        for frame in run:
            share = 0.0 if opacity is None else opacity.get(frame, 0.0)
            who = BOTH if 0 < share < 1 else (Renderer.own_mouths if share else Renderer.editor).value
            last = found[-1] if found else None
            if last and frame > run.start and last.renderer == who:
                found[-1] = replace(last, last=frame, end=float(ends[frame]))
            else:
                found.append(Drawn(frame, frame, float(times[frame]), float(ends[frame]), who, (person,)))
    return found


def _drawn(face: DubbedFace) -> list[Drawn]:
    division, info = face.division, face.followed.info
    opacity = None if division.renderer is None else division.opacity
    return drawn_stretches(face.runs, face.persons, opacity, face.plan.timeline.times, info.duration)
