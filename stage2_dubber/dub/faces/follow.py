"""Where the face is in every frame of a clip; needs no model, so that it may go on while one is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Event

import numpy as np

from common.face import FaceTrack, build_detector
from common.face.people import Faces, track_faces
from common.face.recorded import RecordedDetector
from common.face.track import no_face
from common.media import VideoInfo, VideoReader, frame_times
from common.media.retiming import RetimedVideo, open_video
from common.memory import give_back_freed
from common.own_mouths.clip import ClipMouths, MouthCollector
from common.own_mouths.config import OwnMouthsConfig
from common.parallel import Behind
from common.progress import ProgressCallback
from stage2_dubber.dub.faces.choose import ChosenFaces, choose_faces
from stage2_dubber.dub.faces.cues import Cue, read_cues, require_one_voice
from stage2_dubber.dub.inputs import DubInputs
from stage2_dubber.dub.length.place import frames_between
from stage2_dubber.dub.request import DubRequest
from stage2_dubber.dub.resume.folder import JobFolder, folder_of
from stage2_dubber.dub.resume.key import faces_key

TRACKING = "finding face"

_BEHIND = 4  # frames whose mouths wait to be collected


@dataclass(frozen=True)
class FollowedFace:
    """One person followed through a clip.

    Attributes:
        track: the face per source frame, where it is dubbed.
        faces: all faces of the clip; their places alone.
        chosen: which of them ``track`` is.
        times: (N,) float64 seconds of the frames.
        info: of the video.
        mouths: what the clip's own mouths look like, where they were collected and there are enough.
        seen: what the detector saw, and its key.
        parts: the ranges of frames that are to be dubbed; empty: all.
        stays: runs of frames in which the face is seen, those outside of the parts included; empty: the
            track's.
        cues: what it says, where a cue file says who speaks when.
        damaged: frames that the decoder had to guess, rising.
        beside: further faces of such a file, dubbed in the same run; they have what all share, too.
    """

    track: FaceTrack
    faces: Faces
    chosen: ChosenFaces
    times: np.ndarray
    info: VideoInfo
    mouths: ClipMouths | None = None
    seen: tuple[RecordedDetector, str] | None = None
    parts: tuple[range, ...] = ()
    stays: tuple[slice, ...] = ()
    cues: tuple[Cue, ...] = ()
    damaged: tuple[int, ...] = ()
    beside: tuple[FollowedFace, ...] = ()

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
    whose mouths were collected meanwhile, and where several faces are dubbed.

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
    damaged: list[int] = []
    with open_video(video) as reader, beside as watch:
        times, info = reader.times(), reader.info
        images = _counted(reader, info, progress, stopping, damaged)
        faces = track_faces(images, detector, watch=watch, cuts=joints)
    give_back_freed()
    if not faces.stretches:
        raise no_face(request.video, "--box or --track")
    if request.cues is None:
        part = inputs.place.frames(times) if inputs is not None and inputs.place.is_part else None
        people = [_Person(_choose(request, name, faces), () if part is None else (part,))]
    else:
        people = _cued(request.cues, faces, times)
    dubbed = [faces.within([(range(len(faces)), one.chosen.stretches)]) for one in people]
    mouths: list[ClipMouths | None] = [None] * len(people)
    if own_mouths is not None and collector is not None:
        everybody = range(len(dubbed[0].stretches))
        if len(people) > 1 or not dubbed[0].saw_all(everybody):
            # Somebody else was watched: who is dubbed is known only now.
            mouths = _watched(video, dubbed, own_mouths, stopping)
        else:
            mouths = [collector.finish()]
    seen_by, places = (detector, key), faces.places()
    found = []
    for one, of, own in zip(people, dubbed, mouths, strict=True):
        track = of.track(range(len(of.stretches)))
        stays = tuple(track.segments()) if one.parts else ()
        track = track.within(one.parts) if one.parts else track
        found.append(
            FollowedFace(
                track,
                places,
                one.chosen,
                times,
                info,
                own,
                seen_by,
                one.parts,
                stays,
                one.cues,
                tuple(damaged),
            )
        )
    return replace(found[0], beside=tuple(found[1:]))


@dataclass(frozen=True)
class _Person:
    """One face that is dubbed, in these frames; no ``parts``: in all."""

    chosen: ChosenFaces
    parts: tuple[range, ...] = ()
    cues: tuple[Cue, ...] = ()


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


def _cued(path: Path, faces: Faces, times: np.ndarray) -> list[_Person]:
    """The faces that the cues of a table name, each with all of its cues."""
    named: dict[tuple[int, ...], list[Cue]] = {}
    for cue in read_cues(path):
        named.setdefault(choose_faces(faces, cue.face, lambda _: None).stretches, []).append(cue)
    people = []
    for stretches, cues in named.items():
        require_one_voice(cues, path)
        parts: list[range] = []
        for part in (frames_between(times, cue.start, cue.end) for cue in cues):
            begins = parts.pop().start if parts and parts[-1].stop == part.start else part.start
            parts.append(range(begins, part.stop))
        people.append(_Person(ChosenFaces(stretches), tuple(parts), tuple(cues)))
    return people


def _watched(
    video: Path | RetimedVideo, people: Sequence[Faces], config: OwnMouthsConfig, stopping: Event
) -> list[ClipMouths | None]:
    """A second pass over the video: the mouths of these people, who share the bounds of ``config``."""
    share = replace(
        config,
        max_moments=max(1, config.max_moments // len(people)),
        max_megabytes=max(1, config.max_megabytes // len(people)),
    )
    collectors = [MouthCollector(share) for _ in people]
    seen = [faces.seen(range(len(faces.stretches))) for faces in people]
    following = [next(told, None) for told in seen]
    with open_video(video) as reader:
        for frame in reader:
            if stopping.is_set() or all(face is None for face in following):
                break
            for number, face in enumerate(following):
                if face is not None and face[0] == frame.index:
                    collectors[number].watch(frame.index, frame.image, face[1], face[2])
                    following[number] = next(seen[number], None)
    return [collector.finish() for collector in collectors]


def _counted(
    reader: VideoReader,
    info: VideoInfo,
    progress: ProgressCallback,
    stopping: Event,
    damaged: list[int],
) -> Iterator[np.ndarray]:
    """The pictures; the numbers of those that are ``damaged`` are put there."""
    for frame in reader:
        if stopping.is_set():
            return
        if frame.damaged:
            damaged.append(frame.index)
        yield frame.image
        progress(TRACKING, frame.index + 1, info.frame_count)
