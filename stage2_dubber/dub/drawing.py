"""The frames of a job: the source's, with the new mouth of each face laid over the ones before."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from common.own_mouths.occluders import REACH
from common.progress import ProgressCallback
from stage2_dubber.dub.compositing.options import TELL_CHANGES
from stage2_dubber.dub.dubbed import DubbedFace, DubbedFaces
from stage2_dubber.dub.job import Composite, composited_frames, first_wanted, source_frames
from stage2_dubber.dub.outputs import SHEET_COLUMNS, JobOutputs
from stage2_dubber.dub.own_mouths import SHEET_SIZE, with_own_mouths
from stage2_dubber.dub.request import DubRequest
from stage2_dubber.dub.telling import FramesDone, told

if TYPE_CHECKING:
    from common.models.package import ModelPackage
    from stage2_dubber.dub.editing.windowed import Watch, WindowedEditor
    from stage2_dubber.dub.refining.refiner import FrameRefiner


@dataclass(frozen=True)
class Drawing:
    """What is being drawn.

    Attributes:
        frames: those of the job that are missing, with some before them.
        seams: seconds at which the editor's second and later windows begin.
        total: of what progress is told, frames of the video or of the model.
    """

    frames: Iterator[Composite]
    seams: tuple[float, ...]
    total: int


def draw_faces(
    request: DubRequest,
    faces: DubbedFaces,
    outputs: JobOutputs,
    build: Callable[[Watch], WindowedEditor],
    tell: ProgressCallback,
    refiner: ModelPackage | None = None,
) -> Drawing:
    """Draw the frames of a job.

    Args:
        request: the job.
        faces: that are dubbed.
        outputs: how far they are, and where finished windows lie.
        build: makes an editor; asked once for each face that it draws.
        tell: told about progress.
        refiner: refines the lips of all of them; None: none does.
    """
    refines = refiner is not None
    several = len(faces.faces) > 1
    first = faces.faces[0]
    only = None if several or refines or first.division.renderer is not None else first.plan
    # What lies before a face is told by the frames about it, too.
    reach = REACH if any(face.division.renderer is not None for face in faces.faces) else 0
    start = first_wanted(faces.undivided(refines), outputs.first_frame)
    start = first_wanted(faces.undivided(False), max(0, start - reach))
    frames, seams = source_frames(outputs.inputs.video, start), set[float]()
    for number, face in enumerate(faces.faces):
        kept = f"{number}-" if several else ""
        advance = None if only is None else FramesDone(only.model_frames, tell)
        editor = _editor(request, face, outputs, build, advance, kept) if face.division.editor else None
        if editor is not None and face.division.editor is not None:
            if advance is not None:
                advance(sum(editor.kept_frames(part.model) for part in face.division.editor.segments))
            seams |= {
                (segment.model.start + window.start) / editor.fps
                for segment in face.division.editor.segments
                for window in editor.windows(len(segment.model))[1:]
            }
        lips = None
        if refiner is not None:
            lips = _refiner(request, face, outputs, refiner, f"refined-{kept}", not several)
        draw = _Draw(request, face, outputs, editor, start, several, lips)
        frames = _upon(frames, draw) if several else draw(frames)
    if several:
        frames = _placed(frames, faces, request.contact_sheet is not None)
    total = len(faces.frames)
    if only is not None:
        return Drawing(frames, tuple(sorted(seams)), only.model_frames)
    before = int(np.searchsorted(faces.frames, outputs.first_frame))
    return Drawing(told(frames, before, total, tell), tuple(sorted(seams)), total)


def _editor(
    request: DubRequest,
    face: DubbedFace,
    outputs: JobOutputs,
    build: Callable[[Watch], WindowedEditor],
    advance: FramesDone | None,
    kept: str,
) -> WindowedEditor:
    from stage2_dubber.dub.editing.windowed import Watch  # with torch

    return build(
        Watch(
            advance,
            request.compositing in TELL_CHANGES,
            # Two editors share one model, which works on one window at a time.
            overlap=False if kept else None,
            kept=lambda name: outputs.work.window(f"{kept}{name}"),
        )
    )


def _refiner(
    request: DubRequest,
    face: DubbedFace,
    outputs: JobOutputs,
    package: ModelPackage,
    kept: str,
    crops: bool,
) -> FrameRefiner | None:
    from stage2_dubber.dub.refining.build import build_refiner  # with torch
    from stage2_dubber.dub.refining.refiner import Refinement

    return build_refiner(
        package,
        Refinement(
            face,
            request.sampling.seed,
            kept=lambda name: outputs.work.window(f"{kept}{name}"),
            crops=crops and request.contact_sheet is not None,
        ),
    )


@dataclass(frozen=True)
class _Draw:
    """Draws one face over frames from ``start`` on."""

    request: DubRequest
    face: DubbedFace
    outputs: JobOutputs
    editor: WindowedEditor | None
    start: int
    several: bool
    lips: FrameRefiner | None = None

    def __call__(self, frames: Iterator[Composite]) -> Iterator[Composite]:
        division, features = self.face.division, self.face.audio_features
        if division.editor is not None and self.editor is not None:
            video, way = self.outputs.inputs.video, self.request.compositing
            assert features is not None and way is not None, "the pipeline has chosen"
            frames = composited_frames(video, division.editor, self.editor, features, way, self.start, frames)
        if division.renderer is not None:
            crops = self.request.contact_sheet is not None and not self.several
            frames = with_own_mouths(frames, division, self.face.plan, crops)
        return frames if self.lips is None else self.lips(frames)


def _upon(
    frames: Iterator[Composite], draw: Callable[[Iterator[Composite]], Iterator[Composite]]
) -> Iterator[Composite]:
    """``draw`` on what is there already, as if that were the source."""
    waiting: deque[Composite] = deque()

    def below() -> Iterator[Composite]:
        for item in frames:
            waiting.append(item)
            yield Composite(replace(item.frame, image=item.image), item.image)

    for drawn in draw(below()):
        yield Composite(waiting.popleft().frame, drawn.image)


def _placed(frames: Iterable[Composite], faces: DubbedFaces, crops: bool) -> Iterator[Composite]:
    """Frames with their place among the dubbed ones; ``crops``: also of a face, of several in turn."""
    for item in frames:
        index = item.frame.index
        here = [face for face in faces.faces if any(index in run for run in face.runs)]
        if not here:
            yield item
            continue
        position = int(np.searchsorted(faces.frames, index))
        before = after = None
        if crops:
            turn = position * SHEET_COLUMNS // len(faces.frames)
            plan = here[turn % len(here)].plan
            before, after = (
                plan.crops.extract(image, index, SHEET_SIZE) for image in (item.frame.image, item.image)
            )
        yield Composite(item.frame, item.image, position, before, after)
