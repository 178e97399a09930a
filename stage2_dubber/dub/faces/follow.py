"""Where the face is in every frame of a clip; needs no model, so that it may go on while one is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event

import numpy as np

from common.face import FaceTrack, build_detector, require_face
from common.face.people import Faces, track_faces
from common.face.recorded import RecordedDetector
from common.media import VideoInfo, VideoReader, frame_times
from common.media.retiming import RetimedVideo, open_video
from common.own_mouths.clip import ClipMouths, MouthCollector
from common.own_mouths.config import OwnMouthsConfig
from common.parallel import Behind
from common.progress import ProgressCallback
from stage2_dubber.dub.faces.choose import ChosenFaces, choose_faces
from stage2_dubber.dub.faces.cues import Cue, read_cues
from stage2_dubber.dub.request import DubInputs, DubRequest
from stage2_dubber.dub.resume.folder import JobFolder, folder_of
from stage2_dubber.dub.resume.key import faces_key

TRACKING = "finding face"

_BEHIND = 4  # frames whose mouths wait to be collected


@dataclass(frozen=True)
class FollowedFace:
    """One person followed through a clip.

    Attributes:
        track: the face per source frame; there is one in some of them.
        faces: all faces of the clip.
        chosen: which of them ``track`` is.
        times: (N,) float64 seconds of the frames.
        info: of the video.
        mouths: what the clip's own mouths look like, where they were collected and there are enough.
        seen: what the detector saw, and its key.
        part: the frames that are to be dubbed; None: all.
    """

    track: FaceTrack
    faces: Faces
    chosen: ChosenFaces
    times: np.ndarray
    info: VideoInfo
    mouths: ClipMouths | None = None
    seen: tuple[RecordedDetector, str] | None = None
    part: range | None = None

    def keep(self, work: JobFolder) -> None:
        """Save what the detector saw until the job is finished."""
        if self.seen is not None:
            detector, key = self.seen
            detector.save(work.faces(key))


def follow_face(
    request: DubRequest,
    progress: ProgressCallback,
    stopping: Event | None = None,
    own_mouths: OwnMouthsConfig | None = None,
    inputs: DubInputs | None = None,
) -> FollowedFace:
    """The first pass over the video.

    Args:
        request: whose video and face backend are used.
        progress: told about :data:`TRACKING`.
        stopping: once it is set nobody wants the result, and the next frame is the last.
        own_mouths: also collect the clip's own mouths, within these bounds.
        inputs: the results of the checks; None: the video as it is, all of it.

    What the detector saw is taken from the folder of an interrupted job of the same output, if it is there.
    Where several people are seen the video is decoded once more if the face that is dubbed was not the one
    whose mouths were collected meanwhile.

    Raises:
        UserError: no face, or not the one that was chosen.
    """
    name, options = request.face_backend()
    if name == "box" and own_mouths is not None:
        # Own mouths need lips that were seen, not a neutral face in a box.
        options = {**options, "mesh": True}
    video = request.video if inputs is None else inputs.video
    retiming = None if inputs is None else inputs.retiming
    shown, joints = (None, ()) if retiming is None else (retiming.shown, retiming.joints)
    seen = None if shown is None else int(shown.max()) + 1
    key = faces_key(request, name, {**options, "frames": seen})
    kept = JobFolder(folder_of(request.output)).faces(key)
    detector = RecordedDetector(kept, partial(build_detector, name, **options), shown)
    collector = None if own_mouths is None else MouthCollector(own_mouths)
    stopping = stopping or Event()
    # Mouths are collected beside the search for faces in the next frames.
    beside = nullcontext() if collector is None else Behind(collector.watch, _BEHIND)
    with open_video(video) as reader, beside as watch:
        times, info = reader.times(), reader.info
        images = _counted(reader, info, progress, stopping)
        faces = track_faces(images, detector, watch=watch, cuts=joints)
    require_face(faces.track(range(len(faces.stretches))), request.video)
    if request.cues is None:
        chosen = _choose(request, name, faces)
        dubbed = faces.within([(range(len(faces)), chosen.stretches)])
    else:
        chosen, dubbed = _cued(read_cues(request.cues), faces, times)
    everything = range(len(dubbed.stretches))
    part = inputs.place.frames(times) if inputs is not None and inputs.place.is_part else None
    inside = dubbed if part is None else dubbed.within([(part, everything)])
    track = inside.track(range(len(inside.stretches)))
    if own_mouths is not None and not dubbed.saw_all(everything):
        # Somebody else was watched: who is dubbed is known only now.
        collector = _watched(video, dubbed, MouthCollector(own_mouths), stopping)
    mouths = None if collector is None else collector.finish()
    return FollowedFace(track, faces, chosen, times, info, mouths, (detector, key), part)


def _choose(request: DubRequest, detector: str, faces: Faces) -> ChosenFaces:
    if detector == "box":
        return ChosenFaces(tuple(range(len(faces.stretches))))

    def agreement(faces: Faces) -> dict[int, float] | None:
        from stage2_dubber.dub.faces.speaker import speaking  # with libraries that few clips need

        # With the sound go the frames of the source in their order, which come first.
        times = frame_times(request.video)[: len(faces)]
        everybody = range(len(faces.stretches))
        return speaking(request.video, times, faces.within([(range(len(times)), everybody)]))

    return choose_faces(faces, request.face_choice, agreement)


def _cued(cues: Sequence[Cue], faces: Faces, times: np.ndarray) -> tuple[ChosenFaces, Faces]:
    """All faces that a cue names, and what is dubbed of them: the frames of their cues."""
    parts = []
    for cue in cues:
        first, last = np.searchsorted(times, [cue.start, cue.end])
        named = choose_faces(faces, cue.face, lambda _: None).stretches
        parts.append((range(int(first), int(last)), named))
    everybody = sorted({index for _, named in parts for index in named})
    return ChosenFaces(tuple(everybody)), faces.within(parts)


def _watched(
    video: Path | RetimedVideo, faces: Faces, collector: MouthCollector, stopping: Event
) -> MouthCollector:
    """A second pass over the video: the mouths of all these faces."""
    seen = faces.seen(range(len(faces.stretches)))
    following = next(seen, None)
    with open_video(video) as reader:
        for frame in reader:
            if following is None or stopping.is_set():
                break
            if frame.index == following[0]:
                collector.watch(frame.index, frame.image, following[1], following[2])
                following = next(seen, None)
    return collector


def _counted(
    reader: VideoReader, info: VideoInfo, progress: ProgressCallback, stopping: Event
) -> Iterator[np.ndarray]:
    for frame in reader:
        if stopping.is_set():
            return
        yield frame.image
        progress(TRACKING, frame.index + 1, info.frame_count)
