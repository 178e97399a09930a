"""The face of a source followed through its frames, and versions of the clip cut by it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from common.face import CropTrack, FaceDetector, mouth_opening, plan_crops, require_face, track_face
from common.media import VideoInfo, VideoReader, load_audio, probe, resample_indices
from evaluation.clip_frames import frames_at, shown_frames
from evaluation.dubbed_clip import RATE, SIZE, Footage
from evaluation.native import as_curves, measure_frame, square_of


@dataclass(frozen=True)
class SourceTrack:
    """The face of a source, followed: by it every version of the clip is cut.

    Attributes:
        path: the source.
        info: of the source.
        shown: (N,) frame of the source at each moment of the clock of 25 per second.
        squares: one per source frame; where no face was found, the neighbours'.
        points: (N, 68, 3) float32 landmarks in source pixels at each moment; NaN where there is no face.
    """

    path: Path
    info: VideoInfo
    shown: NDArray[np.int64]
    squares: CropTrack
    points: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.shown)

    @property
    def crop_points(self) -> NDArray[np.float32]:
        """(N, 68, 3) landmarks in crop pixels; NaN where there is no face."""
        return np.stack(
            [self.squares.landmarks(p, i, SIZE) for p, i in zip(self.points, self.shown, strict=True)]
        )

    @property
    def matrices(self) -> list[NDArray[np.float64]]:
        """(2, 3) each, from source pixels to crop pixels."""
        return [self.squares.matrix(int(i), SIZE) for i in self.shown]


def track_source(path: Path, detector: FaceDetector, longest: int) -> SourceTrack:
    """Follow the face through a source; ``longest`` moments at most are kept.

    Raises:
        UserError: the video is damaged or shows no face.
    """
    with VideoReader(path) as reader:
        info, shown = reader.info, resample_indices(reader.times(), RATE)[:longest]
        track = track_face((frame.image for frame in reader), detector)
    require_face(track, path)
    squares = _filled(plan_crops(track, fps=float(info.average_rate)))
    return SourceTrack(path, info, shown, squares, track.landmarks[shown])


def _filled(squares: CropTrack) -> CropTrack:
    """Squares also where no face was found, so that those frames can be compared, too."""
    known = np.flatnonzero(squares.present)
    at = np.arange(len(squares))
    columns = [np.interp(at, known, squares.centers[known, axis]) for axis in (0, 1)]
    return CropTrack(np.stack(columns, axis=1), np.interp(at, known, squares.sizes[known]))


@dataclass(frozen=True)
class CutFootage:
    """A version of the clip and what was odd about its file."""

    footage: Footage
    notes: tuple[str, ...]


def cut_footage(source_track: SourceTrack, path: Path, detector: FaceDetector) -> CutFootage:
    """Cut a version of the clip by the source's squares and look for the mouth in it.

    A version of another size is scaled to the source's; one of another length is compared as far as both go.

    Args:
        detector: looks at the crops, the same one for every version.

    Raises:
        UserError: the video is damaged.
    """
    info, notes = probe(path), []
    wanted = (source_track.info.width, source_track.info.height)
    if (info.width, info.height) != wanted:
        notes.append(f"{info.width}x{info.height} was scaled to {wanted[0]}x{wanted[1]}")
    count = min(len(source_track), len(shown := shown_frames(path)))
    crops = np.empty((count, SIZE, SIZE, 3), np.uint8)
    numbers = []
    originals = frames_at(source_track.path, source_track.shown[:count])
    itself = path.resolve() == source_track.path.resolve()
    for k, (image, original) in enumerate(zip(_scaled(path, shown[:count], wanted), originals, strict=True)):
        index = int(source_track.shown[k])
        crops[k] = source_track.squares.extract(image, index, SIZE)
        square = square_of(source_track.squares, index)
        numbers.append(measure_frame(image, square, source_track.points[k], None if itself else original))
    landmarks = track_face(crops, detector).landmarks
    return CutFootage(
        Footage(
            crops,
            landmarks,
            mouth_opening(landmarks),
            as_curves(numbers),
            load_audio(path) if info.has_audio else None,
            info.duration,
        ),
        tuple(notes),
    )


def _scaled(path: Path, shown: NDArray[np.int64], size: tuple[int, int]) -> Iterator[NDArray[np.uint8]]:
    for image in frames_at(path, shown):
        if image.shape[1::-1] == size:
            yield image
        else:
            yield np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))


LONGEST = round(60 * RATE)
"""Moments of a clip that are measured: crops are held in memory."""
