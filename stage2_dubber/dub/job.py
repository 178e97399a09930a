"""One clip, start to end, as streams: follow the face, edit its crops window by window, put them back.

The source is decoded three times and never held: once to follow the face, and then by two readers at once,
one that runs a window ahead and cuts out crops, one that follows behind and takes the edited crops. Memory is
therefore one window of crops and a few frames, whatever the length and the size of the video; only numbers
(the track, the speech features) are kept for all of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from common.errors import UserError
from common.face import CropTrack, FaceTrack
from common.face.crop_rules import crops_by_rule
from common.face.release_crops import ReleaseCropTrack
from common.media import Frame
from common.media.retiming import RetimedVideo, open_video
from common.models.conventions import CropRule
from common.own_mouths.reliability import Reliability
from common.progress import ProgressCallback
from stage2_dubber.dub.compositing.blending import NEW_RANGE, ChangeAlpha, border_alpha
from stage2_dubber.dub.compositing.detail import DetailMatch, lower_middle
from stage2_dubber.dub.compositing.options import DEFAULT_COMPOSITING, TELL_CHANGES, Compositing
from stage2_dubber.dub.compositing.release_paste import paste_as_released
from stage2_dubber.dub.editing.edit import Edit
from stage2_dubber.dub.faces.follow import FollowedFace, follow_face
from stage2_dubber.dub.request import DubRequest
from stage2_dubber.dub.timeline import Segment, Timeline
from stage2_dubber.dub.untouched import Untouched, find_untouched, untouched_warning

DUBBING = "dubbing"

MIN_SEGMENT_SECONDS = 0.36
"""Faces that are seen for less by themselves are left alone: nine model frames, three latent frames."""


class CropEditor(Protocol):
    """What edits crops; implemented by :class:`stage2_dubber.dub.editing.editor.WindowEditor`."""

    @property
    def crop_size(self) -> int: ...

    @property
    def fps(self) -> float: ...

    def stream(
        self, crops: Iterator[np.ndarray], count: int, audio_features: np.ndarray, start_frame: int
    ) -> Iterator[Edit]:
        """``count`` crops (S, S, 3) uint8 at model rate in, as many edits out, in order."""
        ...


@dataclass(frozen=True)
class Composite:
    """One finished frame.

    Attributes:
        frame: the source frame.
        image: (H, W, 3) uint8; the source's own array where nothing was dubbed.
        position: place of the frame among the dubbed ones, None where nothing was dubbed.
        before, after: (S, S, 3) uint8 crops of the model frame that was used, source and edit; None where
            nothing was dubbed.
        reliability: of its pixels, where own mouths have drawn it and somebody asked.
    """

    frame: Frame
    image: np.ndarray
    position: int | None = None
    before: np.ndarray | None = None
    after: np.ndarray | None = None
    reliability: Reliability | None = None


@dataclass(frozen=True)
class FacePlan:
    """Where the face is and which frames are dubbed.

    Attributes:
        timeline: source time against model time.
        segments: runs of frames that are dubbed, in order.
        crops: squares per source frame.
        track: the face per source frame.
        untouched: stretches that are not dubbed, in order, and why.
        warnings: sentences for the user.
        damaged: frames that a decoder had to guess.
    """

    timeline: Timeline
    segments: list[Segment]
    crops: CropTrack
    track: FaceTrack
    untouched: tuple[Untouched, ...] = ()
    warnings: tuple[str, ...] = ()
    damaged: tuple[int, ...] = ()

    @property
    def dubbed_frames(self) -> int:
        """Source frames that are dubbed."""
        return sum(len(segment.source) for segment in self.segments)

    @property
    def model_frames(self) -> int:
        """Frames at the model's rate that are edited."""
        return sum(len(segment.model) for segment in self.segments)


def plan_face(request: DubRequest, crop_scale: float, fps: float, progress: ProgressCallback) -> FacePlan:
    """Follow the face of the request's video and decide what is dubbed; arguments as below.

    Raises:
        UserError: no face, or none for long enough.
    """
    return plan_followed(request.video, follow_face(request, progress), crop_scale, fps)


def plan_followed(
    video: Path, face: FollowedFace, crop_scale: float, fps: float, rule: CropRule = CropRule.head
) -> FacePlan:
    """Decide what is dubbed.

    Args:
        video: the source.
        face: of :func:`stage2_dubber.dub.faces.follow.follow_face` for it.
        crop_scale: side of the crops over the size of the face.
        fps: the model's frames per second.
        rule: which squares the model's weights have learnt; that of the release has its own scale.

    Raises:
        UserError: the face does not stay for long enough.
    """
    track = face.track
    timeline = Timeline.of(face.times, fps)
    segments = timeline.segments([run for run in track.segments() if _is_dubbed(run, face, timeline)])
    if not segments:
        where = " between --start and --end" if face.parts else ""
        where = " within its cues" if face.cues else where
        stays = f"stays in view for {MIN_SEGMENT_SECONDS} s" if track.present.any() else "is in view"
        raise UserError(
            f"No face {stays}{where} in '{video}': use a clip in which it does, or give its place "
            "with --box or --track."
        )
    crops = face_crops(face, crop_scale, rule)
    runs = [segment.source for segment in segments]
    end = face.info.duration
    untouched = find_untouched(face.faces, track.present, runs, timeline.times, end, face.parts)
    warnings = (*face.chosen.warnings, *untouched_warning(untouched, len(track)))
    return FacePlan(timeline, segments, crops, track, tuple(untouched), warnings, face.damaged)


def _is_dubbed(run: slice, face: FollowedFace, timeline: Timeline) -> bool:
    """Whether a run of frames is dubbed.

    A face that comes and goes within a few frames is not worth a window, and flickers. A whole shot and a
    part that was asked for are dubbed however short, and so is what they show of a face that stays longer.
    """
    if any((part.start, part.stop) == (run.start, run.stop) for part in face.parts):
        return True
    stay = next((stay for stay in face.stays if stay.start <= run.start < stay.stop), run)
    least = min(round(MIN_SEGMENT_SECONDS * timeline.rate), len(timeline.shown))
    return face.track.fills_shot(stay) or len(timeline.moments(stay)) >= least


def face_crops(face: FollowedFace, crop_scale: float, rule: CropRule) -> CropTrack:
    """The squares that a model sees; arguments as of :func:`plan_followed`."""
    info = face.info
    size, fps = (info.width, info.height), float(info.average_rate)
    return crops_by_rule(rule, face.track, size, crop_scale, fps)


def composited_frames(
    video: Path | RetimedVideo,
    plan: FacePlan,
    editor: CropEditor,
    audio_features: np.ndarray,
    compositing: Compositing = DEFAULT_COMPOSITING,
    start: int = 0,
    below: Iterator[Composite] | None = None,
) -> Iterator[Composite]:
    """Second pass: the frames of the source, in order, with the edits put back.

    Every source frame takes the edit of the model frame that is nearest in time, at the frame's own place of
    the face. Pixels outside the face's square, at its very border, and where the edit changed nothing are the
    decoded source's bytes.

    Args:
        video: the source.
        plan: of :func:`plan_face` for the same video.
        editor: edits the crops.
        audio_features: (T, C) speech features at 50 Hz, on the clock of the video's first frame.
        compositing: how edits go back. "residual" and "fused" want an editor that tells changes.
        start: the first frame that is wanted. Where it lies within a segment, frames come from the first one
            of that segment on: an edit depends on those before it.
        below: what edits go back into, from the frame on that :func:`first_wanted` gives; None: the source.
    """
    waiting = deque(segment for segment in plan.segments if segment.source.stop > start)
    start = first_wanted([plan], start)
    position = plan.dubbed_frames - sum(len(segment.source) for segment in waiting)
    with open_video(video) as ahead:
        cutter = _Cutter(ahead.frames(start), plan, editor.crop_size)
        segment: Segment | None = None
        for item in source_frames(video, start) if below is None else below:
            frame = item.frame
            if segment is None and waiting and frame.index == waiting[0].source.start:
                segment = waiting.popleft()
                edits = _Edits(editor, cutter.crops(segment), segment.model, audio_features, compositing)
                detail = DetailMatch()
            if segment is None:
                yield Composite(frame, frame.image)
                continue
            edit = edits.at(plan.timeline.model_frame(segment, frame.index))
            image = frame.image
            if compositing is Compositing.whole_crop and isinstance(plan.crops, ReleaseCropTrack):
                image = paste_as_released(image, edit.after, edit.before, plan.crops.boxes[frame.index])
            elif edit.taken is not None:
                after = edit.after
                if compositing is Compositing.fused:
                    after = detail(partial(_middle, plan.crops, image, frame.index), after)
                image = plan.crops.paste(image, after, edit.taken, frame.index)
            if edit.added is not None:
                image = plan.crops.add(image, edit.change, edit.added, frame.index)
            yield Composite(frame, image, position, edit.before, edit.after)
            position += 1
            if frame.index == segment.source.stop - 1:
                segment = None


def first_wanted(plans: Sequence[FacePlan], start: int) -> int:
    """The frame from which on frames are needed for those from ``start`` on.

    Where it lies within segments, that is the first one of these: an edit depends on those before it.
    """
    segments = [segment.source for plan in plans for segment in plan.segments]
    while True:
        earliest = min([start, *(run.start for run in segments if run.start < start < run.stop)])
        if earliest == start:
            return start
        start = earliest


def source_frames(video: Path | RetimedVideo, start: int = 0) -> Iterator[Composite]:
    """The frames of the source from ``start`` on, untouched."""
    with open_video(video, samples=True) as reader:
        for frame in reader.frames(start):
            yield Composite(frame, frame.image)


def _middle(crops: CropTrack, image: np.ndarray, index: int) -> tuple[np.ndarray, int]:
    """The lower middle of the face's square in the frame's own pixels, and the square's side."""
    side = round(crops.sizes[index])
    return crops.extract(image, index, side, lower_middle(side)), side


class _Cutter:
    """Crops of the model's frames, from frames that only go forward."""

    def __init__(self, frames: Iterator[Frame], plan: FacePlan, size: int) -> None:
        self._frames = frames
        self._plan = plan
        self._size = size

    def crops(self, segment: Segment) -> Iterator[np.ndarray]:
        """(S, S, 3) uint8 for every model frame of ``segment``; a frame shown twice is cut once."""
        index, crop = -1, np.zeros(0, np.uint8)
        for moment in segment.model:
            wanted = self._plan.timeline.source_frame(segment, moment)
            if wanted != index:
                frame = next(self._frames)
                while frame.index < wanted:
                    frame = next(self._frames)
                index, crop = wanted, self._plan.crops.extract(frame.image, wanted, self._size)
            yield crop


@dataclass(frozen=True)
class _Placed:
    """One model frame.

    Attributes:
        before, after: crops (S, S, 3).
        change: (S, S, 3), what the edit adds.
        taken: opacity (S, S) with which ``after`` takes the source's place; None: nowhere.
        added: opacity (S, S) with which ``change`` is added to that; None: nowhere.
    """

    before: np.ndarray
    after: np.ndarray
    change: np.ndarray
    taken: np.ndarray | None
    added: np.ndarray | None


class _Edits:
    """The newest edit of one segment, asked for by its rising model frame."""

    def __init__(
        self,
        editor: CropEditor,
        crops: Iterator[np.ndarray],
        moments: range,
        audio_features: np.ndarray,
        compositing: Compositing,
    ) -> None:
        self._ahead: deque[np.ndarray] = deque()  # crops that went in and have not come out yet
        self._stream = editor.stream(self._remembered(crops), len(moments), audio_features, moments.start)
        self._next = moments.start
        self._border = border_alpha(editor.crop_size)
        self._compositing = compositing
        self._change = ChangeAlpha(editor.crop_size)
        self._new = ChangeAlpha(editor.crop_size, NEW_RANGE, 1 / 32)
        self._newest: _Placed | None = None

    def _remembered(self, crops: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        for crop in crops:
            self._ahead.append(crop)
            yield crop

    def at(self, moment: int) -> _Placed:
        while self._next <= moment or self._newest is None:
            edit = next(self._stream)
            self._newest = self._placed(self._ahead.popleft(), edit)
            self._next += 1
        return self._newest

    def _placed(self, before: np.ndarray, edit: Edit) -> _Placed:
        way, change = self._compositing, edit.change
        if change is None or way not in TELL_CHANGES:
            change = edit.image.astype(np.float32) - before
        alpha = self._border
        if way is not Compositing.whole_crop:
            alpha = alpha * self._change(change)
        if way is Compositing.residual:
            return _Placed(before, edit.image, change, None, alpha)
        if way is Compositing.fused:
            new = self._new(change)
            return _Placed(before, edit.image, change, alpha * new, alpha * (1 - new))
        return _Placed(before, edit.image, change, alpha, None)
