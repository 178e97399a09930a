"""Hands, microphones and cups with a known alpha, drawn over filmed clips."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from common.face import FaceDetector, FaceTrack, build_detector, require_face, track_face
from common.face.track import load_arrays
from common.files import (
    PathLike,
    atomic_path,
    fingerprint,
    read_json,
    require_writable_dir,
    sha256_file,
    write_json,
)
from common.media import VideoReader, VideoWriter
from evaluation.bench.filmed import face_places, film_look
from evaluation.bench.track_file import occluder_track
from evaluation.manifest import SELF, SILENCE, Case, read_manifest
from evaluation.metrics.base import Kind
from stage1_generator.rendered.overlay import FacePlace, draw_layer, lay_over, pose_on, reaching
from stage1_generator.rendered.overlay_look import FilmLook, finish_layer, in_the_light_of
from stage1_generator.rendered.scene import HELD_OUT_SEEDS, OCCLUDERS, Scene, sample_scene

FORMAT = 1
"""Raised whenever the same row and seed would give another picture, so that old files are made anew."""
THINGS = tuple(kind for kind in OCCLUDERS if kind != "none")
COLUMNS = ("name", "video", "audio", "group", "track", "audio_track", "text")
MANIFEST = "manifest.csv"

Pixels = NDArray[np.uint8]

_CRF = 12
_SHUTTER = 0.5


@dataclass(frozen=True)
class Occluded:
    """Rows that were written, in order, how many of them were there already, and a sentence per other row."""

    rows: list[dict[str, str]]
    kept: int
    left_out: list[str]


def occlude(
    manifest: PathLike,
    output: PathLike,
    kinds: Sequence[str] = THINGS,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Occluded:
    """Draw something that comes and goes before the mouth of every clip of a manifest.

    Per row: <name>.mp4 with the source's frames, times, size and sound, <name>.track.safetensors with
    landmarks (N, 68, 3) and boxes (N, 4) as found before anything was drawn and occluder (N, H, W) uint8,
    and <name>.json, written last. Then manifest.csv, with the same speech and the kind of thing as group;
    ``truth`` and ``scene`` are not passed on, since both are of the clip without the thing. What lies there
    already, made of the same files, is kept. A row that cannot be made is left out and told.

    Args:
        manifest: as evaluation.manifest.read_manifest reads it.
        output: folder.
        kinds: of THINGS, in turn.
        seed: of the things, their ways and their times; the row's name goes in, too.
        progress: called with (rows done, rows in all).

    Raises:
        UserError: no such manifest, an unknown kind, or the folder cannot be written or holds an input.
    """
    unknown = [kind for kind in kinds if kind not in THINGS]
    if unknown or not kinds:
        raise UserError(f"There is no occluder '{(unknown or [''])[0]}': choose from {', '.join(THINGS)}.")
    left_out: list[str] = []
    cases = read_manifest(manifest, left_out)
    folder = require_writable_dir(output)
    _refuse_inputs(Path(manifest), cases, folder)
    rows, kept, finder = [], 0, _Finder()
    for number, case in enumerate(cases):
        kind = kinds[number % len(kinds)]
        try:
            kept += not _make(case, kind, seed, folder, finder)
            rows.append(_row(case, kind, folder))
        except UserError as error:
            left_out.append(f"{case.name}: {error}")
        if progress is not None:
            progress(number + 1, len(cases))
    if rows:
        with (
            atomic_path(folder / MANIFEST) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as stream,
        ):
            writer = csv.DictWriter(stream, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
    return Occluded(rows, kept, left_out)


def _refuse_inputs(manifest: Path, cases: Sequence[Case], folder: Path) -> None:
    """Nothing that is read is written over.

    Raises:
        UserError: an output would have the place of an input.
    """
    inputs = {manifest.resolve(), *(path.resolve() for case in cases for path in case.files.values())}
    for output in [folder / MANIFEST, *(path for case in cases for path in _outputs(case, folder))]:
        if output.resolve() in inputs:
            raise UserError(f"The output '{output}' is one of the inputs: choose another folder.")


def _outputs(case: Case, folder: Path) -> tuple[Path, Path, Path]:
    """Video, track and what they were made of."""
    video, track, about = (folder / f"{case.name}{s}" for s in (".mp4", ".track.safetensors", ".json"))
    return video, track, about


class _Finder:
    """Face detectors. The usual one is made when it is first needed, which takes seconds."""

    def __init__(self) -> None:
        self._usual: FaceDetector | None = None

    def __call__(self, case: Case) -> FaceDetector:
        if case.track is not None:
            if case.track.suffix == ".safetensors" and load_arrays(case.track, ("occluder",)):
                raise UserError(
                    f"The track '{case.track}' has an occluder already: use the clip without one, "
                    "or leave the row out."
                )
            return build_detector("box", track_file=case.track)
        self._usual = self._usual or build_detector("mediapipe")
        return self._usual


def _make(case: Case, kind: str, seed: int, folder: Path, finder: _Finder) -> bool:
    """Make the files of a row; False if they were there.

    Raises:
        UserError: no face, a damaged video or track, or the disk is full.
    """
    video, track_path, about = _outputs(case, folder)
    inputs = [sha256_file(path) for path in (case.video, case.track) if path is not None]
    mark = fingerprint([FORMAT, kind, seed, case.name, *inputs])
    if about.is_file() and video.is_file() and track_path.is_file():
        told = read_json(about)
        if isinstance(told, dict) and told.get("fingerprint") == mark:
            return False
    about.unlink(missing_ok=True)  # until all is whole again
    with VideoReader(case.video) as reader:
        track = require_face(track_face((frame.image for frame in reader), finder(case)), case.video)
        info = reader.info
    places, look = face_places(track, float(info.average_rate)), film_look(case.video, track)
    scene = _scene(case.name, kind, seed, look, info.duration)
    unit = min(pose_on(scene, place).unit for place in places)
    scene = reaching(scene, (info.height - min(float(place.mouth[1]) for place in places)) / unit)
    _draw(case.video, video, track_path, track, scene, places, look)
    write_json(about, {"fingerprint": mark, "occluder": kind, "seed": seed, "scene_seed": scene.seed})
    return True


def _scene(name: str, kind: str, seed: int, look: FilmLook, seconds: float) -> Scene:
    """The scene whose occluder is drawn: one of those that nothing is trained on."""
    drawn = HELD_OUT_SEEDS[int(fingerprint([seed, name]), 16) % len(HELD_OUT_SEEDS)]
    scene = in_the_light_of(sample_scene(drawn, style="realistic", occluder=kind), look)
    assert scene.occluder is not None
    # Every clip begins with a free face, and something comes in every one, however short it is.
    visits = replace(scene.occluder, phase=0.0, period=min(scene.occluder.period, seconds))
    return replace(scene, occluder=visits, shutter=_SHUTTER)


def _draw(
    source: Path,
    video: Path,
    track_path: Path,
    track: FaceTrack,
    scene: Scene,
    places: Sequence[FacePlace],
    look: FilmLook,
) -> None:
    """Write the clip with the thing in front, and the track."""
    with VideoReader(source) as reader:
        info = reader.info
        shape = (info.height, info.width)
        with (
            VideoWriter(
                video,
                info.width,
                info.height,
                rate=info.average_rate,
                time_base=info.time_base,
                crf=_CRF,
                audio_from=source if info.has_audio else None,
                like=info,
            ) as pictures,
            occluder_track(track_path, track, shape) as add_alpha,
        ):
            for frame, place in zip(reader, places, strict=True):
                image, alpha = covered(frame.image, scene, look, place, frame.time, frame.index)
                pictures.write(image, frame.pts, frame.duration)
                add_alpha(alpha)


def covered(
    image: Pixels, scene: Scene, look: FilmLook, place: FacePlace, seconds: float, index: int
) -> tuple[Pixels, Pixels]:
    """A frame with the scene's thing in front of the face.

    Returns:
        (H, W, 3) uint8, and alpha (H, W) uint8, where 0 says that the pixel is the source's.
    """
    layer = draw_layer(scene, seconds, place, image.shape[:2])
    if layer is None:
        return image, np.zeros(image.shape[:2], np.uint8)
    unit = pose_on(scene, place).unit
    return lay_over(image, finish_layer(layer, scene, look, unit, index)), layer.alpha


def _row(case: Case, kind: str, folder: Path) -> dict[str, str]:
    video, track, _ = _outputs(case, folder)
    audio = (
        SILENCE if case.audio is None else SELF if case.kind is Kind.self else _relative(case.audio, folder)
    )
    driver = "" if case.audio_track is None else _relative(case.audio_track, folder)
    values = (case.name, video.name, audio, kind, track.name, driver, case.text or "")
    return dict(zip(COLUMNS, values, strict=True))


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
