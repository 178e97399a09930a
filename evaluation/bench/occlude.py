"""Hands, microphones and cups with a known alpha, drawn over filmed clips."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from common.face import FaceDetector, build_detector, require_face, track_face
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
from common.media import VideoReader
from common.progress import CountCallback
from common.rendered.scene import OCCLUDERS
from evaluation.bench.draw_over import DrawnOccluder, draw_over
from evaluation.manifest import SELF, SILENCE, Case, read_manifest
from evaluation.metrics.base import Kind

FORMAT = 1
"""Raised whenever the same row and seed would give another picture, so that old files are made anew."""
OCCLUDER_KINDS = tuple(kind for kind in OCCLUDERS if kind != "none")
COLUMNS = ("name", "video", "audio", "group", "track", "audio_track", "sound_delay", "text")
MANIFEST = "manifest.csv"


@dataclass(frozen=True)
class Occluded:
    """Rows that were written, in order, how many of them were there already, and a sentence per other row."""

    rows: list[dict[str, str]]
    kept: int
    left_out: list[str]


def occlude(
    manifest: PathLike,
    output: PathLike,
    kinds: Sequence[str] = OCCLUDER_KINDS,
    seed: int = 0,
    progress: CountCallback | None = None,
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
        kinds: of OCCLUDER_KINDS, in turn.
        seed: of the things, their ways and their times; the row's name goes in, too.
        progress: called with (rows done, rows in all).

    Raises:
        UserError: no such manifest, an unknown kind, or the folder cannot be written or holds an input.
    """
    unknown = [kind for kind in kinds if kind not in OCCLUDER_KINDS]
    if unknown or not kinds:
        raise UserError(
            f"There is no occluder '{(unknown or [''])[0]}': choose from {', '.join(OCCLUDER_KINDS)}."
        )
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
    scene = draw_over(case.video, video, track_path, track, DrawnOccluder(kind, seed, case.name))
    write_json(about, {"fingerprint": mark, "occluder": kind, "seed": seed, "scene_seed": scene.seed})
    return True


def _row(case: Case, kind: str, folder: Path) -> dict[str, str]:
    video, track, _ = _outputs(case, folder)
    audio = (
        SILENCE if case.audio is None else SELF if case.kind is Kind.self else _relative(case.audio, folder)
    )
    driver = "" if case.audio_track is None else _relative(case.audio_track, folder)
    delay = f"{case.sound_delay:g}"
    values = (case.name, video.name, audio, kind, track.name, driver, delay, case.text or "")
    return dict(zip(COLUMNS, values, strict=True))


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
