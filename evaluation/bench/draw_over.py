"""A clip with a drawn thing in front of the mouth, and its track."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.face import FaceTrack
from common.files import fingerprint
from common.media import Encoding, VideoReader, VideoWriter
from common.rendered.overlay import FacePlace, draw_layer, lay_over, pose_on, reaching
from common.rendered.overlay_look import FilmLook, finish_layer, in_the_light_of
from common.rendered.scene import HELD_OUT_SEEDS, Scene, sample_scene
from evaluation.bench.filmed import face_places, film_look
from evaluation.bench.track_file import occluder_track

Pixels = NDArray[np.uint8]

_ENCODING = Encoding(crf=12)
_SHUTTER = 0.5


@dataclass(frozen=True)
class DrawnOccluder:
    """What is drawn: an occluder of scene.OCCLUDERS; seed and the clip's name say which one, and its way."""

    kind: str
    seed: int
    name: str

    @property
    def scene_seed(self) -> int:
        """Of a scene that nothing is trained on."""
        return HELD_OUT_SEEDS[int(fingerprint([self.seed, self.name]), 16) % len(HELD_OUT_SEEDS)]


def draw_over(
    source: Path, video: Path, track_path: Path, track: FaceTrack, occluder: DrawnOccluder
) -> Scene:
    """Write the clip with the thing in front, and the track; frame by frame, each file whole or absent.

    Args:
        source: the clip; frames, times, size and sound are kept.
        video, track_path: to be written.
        track: of the source, with a face in at least one frame.
        thing: what is drawn.

    Returns:
        the scene whose occluder it is.

    Raises:
        UserError: the source is damaged or an output cannot be written.
    """
    with VideoReader(source) as reader:
        info, shape = reader.info, (reader.info.height, reader.info.width)
        places, look = face_places(track, float(info.average_rate)), film_look(source, track)
        scene = _scene(occluder, look, places, info.duration, info.height)
        with (
            VideoWriter(
                video,
                info.width,
                info.height,
                rate=info.average_rate,
                time_base=info.time_base,
                encoding=_ENCODING,
                audio_from=source if info.has_audio else None,
                like=info,
            ) as pictures,
            occluder_track(track_path, track, shape) as add_alpha,
        ):
            for frame, place in zip(reader, places, strict=True):
                image, alpha = covered(frame.image, scene, look, place, frame.time, frame.index)
                pictures.write(image, frame.pts, frame.duration)
                add_alpha(alpha)
    return scene


def _scene(
    occluder: DrawnOccluder, look: FilmLook, places: list[FacePlace], seconds: float, height: int
) -> Scene:
    """The scene whose occluder is drawn, for a clip of this length and of pictures of this height."""
    scene = in_the_light_of(
        sample_scene(occluder.scene_seed, style="realistic", occluder=occluder.kind), look
    )
    assert scene.occluder is not None
    # Every clip begins with a free face, and something comes in every one, however short it is.
    visits = replace(scene.occluder, phase=0.0, period=min(scene.occluder.period, seconds))
    scene = replace(scene, occluder=visits, shutter=_SHUTTER)
    unit = min(pose_on(scene, place).unit for place in places)
    return reaching(scene, (height - min(float(place.mouth[1]) for place in places)) / unit)


def covered(
    image: Pixels, scene: Scene, look: FilmLook, place: FacePlace, seconds: float, index: int
) -> tuple[Pixels, Pixels]:
    """A frame with the scene's thing in front of the face.

    Returns:
        (H, W, 3) uint8, and alpha (H, W) uint8, where 0 says that the pixel is the source's.
    """
    layer = draw_layer(scene, seconds, place, (image.shape[0], image.shape[1]))
    if layer is None:
        return image, np.zeros(image.shape[:2], np.uint8)
    unit = pose_on(scene, place).unit
    return lay_over(image, finish_layer(layer, scene, look, unit, index)), layer.alpha
