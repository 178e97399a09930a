"""What a detector saw in a clip, in a file, so that a job that goes on need not look again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from common.face.rows import Rows
from common.face.track import load_arrays
from common.face.types import FaceDetector, FaceObservation, FloatArray, ImageArray
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
        self._seen = _Record() if self._detector is not None else _Record.read(path)
        self._next = 0

    @property
    def name(self) -> str:
        """Of the detector that looks."""
        return "recorded" if self._detector is None else self._detector.name

    def reset(self) -> None:
        """Begin the clip."""
        self._next = 0
        if self._detector is not None:
            self._seen = _Record()
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
        return self._seen.faces(frame)

    def save(self, path: Path) -> None:
        """Write what was seen in the frames of the clip, unless it was read from there, and let go of it."""
        if self._detector is not None:
            self._seen.write(path)
        self._seen = _Record()


class _Record:
    """The faces of frames, as arrays."""

    def __init__(self) -> None:
        self._ends = [0]
        self._boxes, self._landmarks = Rows((4,)), Rows((68, 3))
        self._scores, self._measured = Rows((), np.float64), Rows((), np.bool_)
        self._persons = Rows((), np.int64)
        self._embeddings: list[FloatArray | None] = []

    def __len__(self) -> int:
        return len(self._ends) - 1

    def append(self, faces: Sequence[FaceObservation]) -> None:
        """One more frame."""
        for face in faces:
            self._boxes.append(face.box)
            self._landmarks.append(face.landmarks)
            self._scores.append(face.score)
            self._measured.append(face.measured)
            self._persons.append(face.person)
            self._embeddings.append(face.embedding)
        self._ends.append(self._ends[-1] + len(faces))

    def faces(self, frame: int) -> list[FaceObservation]:
        """Those of a frame."""
        return [
            FaceObservation(
                self._boxes[row],
                self._landmarks[row],
                float(self._scores[row]),
                self._embeddings[row],
                bool(self._measured[row]),
                int(self._persons[row]),
            )
            for row in range(self._ends[frame], self._ends[frame + 1])
        ]

    def write(self, path: Path) -> None:
        """Save all of it, and hold nothing any more."""
        arrays: dict[str, NDArray[np.generic]] = {
            "counts": np.diff(self._ends),
            "boxes": self._boxes.take(),
            "landmarks": self._landmarks.take(),
            "scores": self._scores.take(),
            "measured": self._measured.take(),
            "persons": self._persons.take(),
        }
        if self._embeddings and all(embedding is not None for embedding in self._embeddings):
            arrays["embeddings"] = np.array(self._embeddings)
        with atomic_path(path) as temporary:
            save_file(arrays, temporary)

    @classmethod
    def read(cls, path: Path) -> _Record:
        arrays, record, row = load_arrays(path), cls(), 0
        known = arrays.get("embeddings")
        for count in arrays["counts"].tolist():
            record.append(
                [
                    FaceObservation(
                        arrays["boxes"][number],
                        arrays["landmarks"][number],
                        float(arrays["scores"][number]),
                        None if known is None else known[number],
                        bool(arrays["measured"][number]),
                        int(arrays["persons"][number]),
                    )
                    for number in range(row, row + count)
                ]
            )
            row += count
        return record
