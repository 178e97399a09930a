"""What a detector saw in a clip, in a file, so that a job that goes on need not look again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from common.face.track import load_arrays
from common.face.types import FaceDetector, FaceObservation, ImageArray
from common.files import atomic_path


class RecordedDetector:
    """A detector that takes from a file what was seen before; without the file it looks.

    Args:
        path: of the file; whoever names it sees to it that it is of the same clip and detector.
        build: makes the detector that looks; called only where there is no file.
        shown: (M,) which frame of the clip each picture shows, where some are shown again; a frame is seen
            first in its order. None: every frame once.
    """

    def __init__(
        self, path: Path, build: Callable[[], FaceDetector], shown: NDArray[np.int64] | None = None
    ) -> None:
        self._shown = shown
        self._detector = None if path.is_file() else build()
        self._seen = _read(path) if self._detector is None else []
        self._next = 0

    @property
    def name(self) -> str:
        """Of the detector that looks."""
        return "recorded" if self._detector is None else self._detector.name

    def reset(self) -> None:
        """Begin the clip."""
        self._next = 0
        if self._detector is not None:
            self._seen = []
            self._detector.reset()

    def new_shot(self) -> None:
        """As of any detector."""
        if self._detector is not None:
            self._detector.new_shot()

    def detect(self, image: ImageArray) -> list[FaceObservation]:
        """Faces of the next picture."""
        frame = self._next if self._shown is None else int(self._shown[self._next])
        if self._detector is not None and frame == len(self._seen):
            self._seen.append(self._detector.detect(image))
        self._next += 1
        return self._seen[frame]

    def save(self, path: Path) -> None:
        """Write what was seen in the frames of the clip, unless it was read from there, and let go of it."""
        if self._detector is not None:
            _write(path, self._seen)
        self._seen = []


def _write(path: Path, frames: list[list[FaceObservation]]) -> None:
    faces = [face for frame in frames for face in frame]
    arrays: dict[str, NDArray[np.generic]] = {
        "counts": np.array([len(frame) for frame in frames], np.int64),
        "boxes": np.array([face.box for face in faces], np.float32).reshape(-1, 4),
        "landmarks": np.array([face.landmarks for face in faces], np.float32).reshape(-1, 68, 3),
        "scores": np.array([face.score for face in faces], np.float64),
        "measured": np.array([face.measured for face in faces], np.bool_),
    }
    if faces and all(face.embedding is not None for face in faces):
        arrays["embeddings"] = np.array([face.embedding for face in faces])
    with atomic_path(path) as temporary:
        save_file(arrays, temporary)


def _read(path: Path) -> list[list[FaceObservation]]:
    arrays = load_arrays(path)
    known = arrays.get("embeddings")
    faces = [
        FaceObservation(
            arrays["boxes"][number],
            arrays["landmarks"][number],
            float(arrays["scores"][number]),
            None if known is None else known[number],
            bool(arrays["measured"][number]),
        )
        for number in range(len(arrays["scores"]))
    ]
    ends = np.cumsum(arrays["counts"]).tolist()
    return [faces[end - count : end] for end, count in zip(ends, arrays["counts"].tolist(), strict=True)]
