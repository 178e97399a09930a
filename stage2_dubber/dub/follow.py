"""Where the face is in every frame of a clip; needs no model, so that it may go on while one is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from threading import Event

import numpy as np

from common.face import FaceTrack, build_detector, require_face, track_face
from common.media import VideoInfo, VideoReader
from common.own_mouths.clip import ClipMouths, MouthCollector
from common.own_mouths.config import OwnMouthsConfig
from common.progress import ProgressCallback
from stage2_dubber.dub.request import DubRequest

TRACKING = "finding face"


@dataclass(frozen=True)
class FollowedFace:
    """One person followed through a clip.

    Attributes:
        track: the face per source frame; there is one in some of them.
        times: (N,) float64 seconds of the frames.
        info: of the video.
        mouths: what the clip's own mouths look like, where they were collected and there are enough.
    """

    track: FaceTrack
    times: np.ndarray
    info: VideoInfo
    mouths: ClipMouths | None = None


def follow_face(
    request: DubRequest,
    progress: ProgressCallback,
    stopping: Event | None = None,
    own_mouths: OwnMouthsConfig | None = None,
) -> FollowedFace:
    """The first pass over the video.

    Args:
        request: whose video and face backend are used.
        progress: told about :data:`TRACKING`.
        stopping: once it is set nobody wants the result, and the next frame is the last.
        own_mouths: also collect the clip's own mouths, within these bounds.

    Raises:
        UserError: no face.
    """
    name, options = request.face_backend()
    if name == "box" and own_mouths is not None:
        # Own mouths need lips that were seen, not a neutral face in a box.
        options = {**options, "mesh": True}
    detector = build_detector(name, **options)
    collector = None if own_mouths is None else MouthCollector(own_mouths)
    with VideoReader(request.video) as reader:
        times, info = reader.times(), reader.info
        images = _counted(reader, info, progress, stopping or Event())
        track = track_face(images, detector, watch=None if collector is None else collector.watch)
    require_face(track, request.video)
    return FollowedFace(track, times, info, None if collector is None else collector.finish())


def _counted(
    reader: VideoReader, info: VideoInfo, progress: ProgressCallback, stopping: Event
) -> Iterator[np.ndarray]:
    for frame in reader:
        if stopping.is_set():
            return
        yield frame.image
        progress(TRACKING, frame.index + 1, info.frame_count)
