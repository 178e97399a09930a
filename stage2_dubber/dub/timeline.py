"""How the source's own frames and the model's constant-rate frames belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common.media import nearest_model_frame, resample_indices


@dataclass(frozen=True)
class Segment:
    """A run of frames with a face.

    Attributes:
        source: the source frames of the run.
        model: the frames of model time that show one of them; positions on the grid of the whole clip, so
            that ``model.start`` is also the first frame of the run on the clock of the speech.
    """

    source: range
    model: range


@dataclass(frozen=True)
class Timeline:
    """Source time against model time for one clip.

    Attributes:
        times: (N,) seconds of every source frame, the first at 0.
        shown: (M,) the source frame that each model frame shows; never decreasing.
        nearest: (N,) the model frame that each source frame takes its edit from; never decreasing.
        rate: model frames per second.
    """

    times: np.ndarray
    shown: np.ndarray
    nearest: np.ndarray
    rate: float

    @classmethod
    def of(cls, times: np.ndarray, rate: float) -> Timeline:
        """Lay the model's grid over source frames at ``times`` (N,) seconds."""
        shown = resample_indices(times, rate)
        return cls(times, shown, nearest_model_frame(times, rate, len(shown)), rate)

    @property
    def duration(self) -> float:
        """Seconds that the model frames cover."""
        return len(self.shown) / self.rate

    def segments(self, runs: Sequence[slice], min_model_frames: int) -> list[Segment]:
        """Turn runs of source frames into segments, leaving out those too short for the model.

        Isolated runs of a few frames are not worth a window and flicker; they pass through instead. A
        clip that is itself shorter than the minimum is taken whole.
        """
        minimum = max(1, min(min_model_frames, len(self.shown)))
        found = []
        for run in runs:
            first = int(np.searchsorted(self.shown, run.start))
            last = int(np.searchsorted(self.shown, run.stop))
            if last - first >= minimum:
                found.append(Segment(range(run.start, run.stop), range(first, last)))
        return found

    def model_frame(self, segment: Segment, source_frame: int) -> int:
        """The model frame of ``segment`` whose edit ``source_frame`` takes."""
        wanted = int(self.nearest[source_frame])
        return min(max(wanted, segment.model.start), segment.model.stop - 1)
