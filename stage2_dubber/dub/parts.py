"""One job in several processes, on machines that see the same files: each draws some of the pieces.

A job is written in pieces that are encoded apart and joined at the end (:mod:`common.media.pieces`), and any
process that knows where the face is can draw any of them. What ties frames together sets the bounds: the face
is followed from the first frame to the last by one process, which collects the clip's own mouths meanwhile,
and a stretch that the model's editor draws, or whose lips are refined, is never divided, since each window
goes on from the one before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from common.errors import UserError
from common.media.gops.plan import Cut
from common.progress import ProgressCallback, say_nothing
from stage2_dubber.dub.device import memory_errors
from stage2_dubber.dub.dubbed import DubbedFaces
from stage2_dubber.dub.faces.follow import FollowedFace
from stage2_dubber.dub.inputs import DubInputs
from stage2_dubber.dub.job import FacePlan, first_wanted
from stage2_dubber.dub.outputs import JobOutputs
from stage2_dubber.dub.pipeline import DubPipeline
from stage2_dubber.dub.request import DubRequest
from stage2_dubber.dub.result import DubResult
from stage2_dubber.dub.resume.folder import JobFolder, folder_of
from stage2_dubber.dub.speaking.options import AudioRole


@dataclass(frozen=True)
class PartedJob:
    """A job that can be drawn in parts.

    Attributes:
        request: the job.
        face: of its first pass; can be sent to other processes.
        parts: frames that may be drawn by one process each, in order.
    """

    request: DubRequest
    face: FollowedFace
    parts: tuple[range, ...]


def can_be_parted(request: DubRequest) -> bool:
    """Whether a job can be drawn in parts; speech that the model makes goes on from window to window."""
    return request.audio_role is not AudioRole.voice


class PartDubber:
    """What one of the processes does. Whoever divides the work holds the job's folder
    (:func:`stage2_dubber.dub.resume.folder.job_folder`) from before :meth:`begin` until after :meth:`finish`.

    Args:
        pipeline: with the model of the job; the same one in all processes.
    """

    def __init__(self, pipeline: DubPipeline) -> None:
        self._pipeline = pipeline
        self._planned: _Planned | None = None

    def begin(self, request: DubRequest, most: int, progress: ProgressCallback = say_nothing) -> PartedJob:
        """Follow the face, and divide what is to be drawn.

        Args:
            request: the job, one that :func:`can_be_parted`.
            most: how many parts there may be.
            progress: told about the first pass.

        Raises:
            UserError: bad input; nothing is written then.
        """
        pipeline, work = self._pipeline, JobFolder(folder_of(request.output))
        checked, inputs = pipeline.checked(request)
        pipeline.begin(checked, inputs, work)
        key = pipeline.key(checked, inputs)
        face = pipeline.followed(checked, inputs, progress)
        face.keep(work)
        self._planned = _Planned(request, key, checked, inputs, pipeline.planned(checked, inputs, face))
        faces = self._planned.faces
        edited = faces.undivided(request.refine is not None)
        cuts = JobOutputs(checked, inputs, work, faces.frames, faces.damaged).encoded
        return PartedJob(request, _to_send(face), divided(cuts, edited, most))

    def draw(self, job: PartedJob, part: range) -> None:
        """Draw the pieces of one part; those that are there already are not drawn again.

        Raises:
            UserError: this process has another model or other programs than the one that has begun.
        """
        planned = self._plan(job)
        work = JobFolder(folder_of(job.request.output))
        if not work.is_of(planned.key):
            raise UserError(
                f"Parts of '{job.request.output}' would differ: another process has begun it with other "
                "files, another model or other versions of programs; install the same on all machines."
            )
        with memory_errors():
            faces = planned.faces
            outputs = JobOutputs(planned.request, planned.inputs, work, faces.frames, faces.damaged, part)
            drawing = self._pipeline.drawing(planned.request, faces, outputs, say_nothing)
            outputs.write_pieces(drawing.frames)

    def finish(self, job: PartedJob) -> DubResult:
        """Join the pieces; those that are missing are drawn.

        Raises:
            UserError: a file cannot be written.
        """
        work = JobFolder(folder_of(job.request.output))
        return self._pipeline.run(job.request, face=lambda: job.face, work=work)

    def _plan(self, job: PartedJob) -> _Planned:
        """Who draws which frames; made once for all parts of a job that come one after another."""
        if self._planned is None or self._planned.asked != job.request:
            checked, inputs = self._pipeline.checked(job.request)
            key = self._pipeline.key(checked, inputs)
            faces = self._pipeline.planned(checked, inputs, job.face)
            self._planned = _Planned(job.request, key, checked, inputs, faces)
        return self._planned


@dataclass(frozen=True)
class _Planned:
    """The job that this process draws parts of.

    Attributes:
        asked: as it was given.
        key: of its folder.
        request: with what the preset adds.
        inputs: what the checks have read.
        faces: who draws which frames.
    """

    asked: DubRequest
    key: str
    request: DubRequest
    inputs: DubInputs
    faces: DubbedFaces


def divided(cuts: Sequence[Cut], edited: Sequence[FacePlan], most: int) -> tuple[range, ...]:
    """Pieces in at most so many parts of about as many frames.

    Args:
        cuts: the frames of each piece that is encoded, in order.
        edited: what a model draws; none of its stretches is divided.
        most: parts.
    """
    if not cuts:
        return ()
    bounds = [cut.first for cut in cuts[1:] if first_wanted(edited, cut.first) == cut.first]
    # Frames that are encoded, before each bound; copied ones cost nothing.
    before = np.cumsum([0, *(cut.stop - cut.first for cut in cuts)])
    firsts = [cut.first for cut in cuts]
    done = {bound: int(before[firsts.index(bound)]) for bound in bounds}
    chosen: list[int] = []
    for number in range(1, most):
        goal = before[-1] * number / most
        later = [bound for bound in bounds if not chosen or bound > chosen[-1]]
        if not later:
            break
        nearest = min(later, key=lambda bound: abs(done[bound] - goal))
        chosen.append(nearest)
    edges = [cuts[0].first, *chosen, cuts[-1].stop]
    return tuple(range(first, stop) for first, stop in pairwise(edges))


def _to_send(face: FollowedFace) -> FollowedFace:
    """Without the detector, which only its own process has, and whose record is kept already."""
    return replace(face, seen=None, beside=tuple(_to_send(one) for one in face.beside))
