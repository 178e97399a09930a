"""One dubbed clip with everything that metrics may look at, all on one clock of 25 frames per second."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Curve = NDArray[np.float64]

RATE = 25.0
"""Frames per second of every clip that is measured: videos of other rates are sampled in time."""

SIZE = 256
"""Side of the face crops in pixels."""


@dataclass(frozen=True)
class Footage:
    """One version of the clip: the source, the dub or the truth.

    Attributes:
        crops: (N, S, S, 3) uint8 RGB, cut by the *source's* squares, so that the same pixel of two versions
            is the same place.
        landmarks: (N, 68, 3) float32 in crop pixels, iBUG layout; NaN rows where no face was found.
        opening: (N,) mouth opening in eye-corner distances (common.face.mouth_opening); NaN where unknown.
        native: numbers of each frame at the video's own size, (N,) each; see evaluation.native.
        sound: (samples,) float32 mono at 16 kHz, the version's own sound; None where it has none.
        seconds: length of the whole version; NaN where unknown.
    """

    crops: Frames
    landmarks: NDArray[np.float32]
    opening: Curve
    native: dict[str, Curve] = field(default_factory=dict)
    sound: NDArray[np.float32] | None = None
    seconds: float = float("nan")

    def __len__(self) -> int:
        return len(self.crops)

    @property
    def present(self) -> NDArray[np.bool_]:
        """(N,) frames with landmarks."""
        return np.asarray(np.isfinite(self.landmarks).all(axis=(1, 2)))


@dataclass(frozen=True)
class FaceRegions:
    """(N, S, S) bool masks in crop pixels, from the source's landmarks (and the truth's, where known).

    Attributes:
        mouth: lips of source and truth, grown a little: where a dub must differ.
        face: the face without the mouth.
        background: neither.
        occluder: what covers the face, where known; None where nothing is known.
    """

    mouth: Mask
    face: Mask
    background: Mask
    occluder: Mask | None = None


@dataclass(frozen=True)
class DubbedClip:
    """A system's answer to one row of a manifest.

    Attributes:
        name: of the row.
        kind: "cross", "self", "silence" or "cycle" (evaluation.metrics.base.Kind).
        source, made: what went in and what came out.
        regions: of the source.
        speech: (samples,) float32 mono at 16 kHz that the lips should say; sample 0 belongs to frame 0.
        truth: the right answer, where there is one.
        driver_opening: (N,) mouth opening of the person whose speech it is, where it was filmed; NaN where
            unknown; None where there is no such film.
        seams: frames at which a new window of the system begins, where the system tells.
        first_dub: of a cycle row: the dub with other speech, before the way back.
        text: the words that should be said, where the manifest tells.
    """

    name: str
    kind: str
    source: Footage
    made: Footage
    regions: FaceRegions
    speech: NDArray[np.float32]
    truth: Footage | None = None
    driver_opening: Curve | None = None
    seams: tuple[int, ...] = ()
    first_dub: Footage | None = None
    text: str | None = None

    def __len__(self) -> int:
        return len(self.made)
