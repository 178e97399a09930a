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
        model: the frames of model time that show one of them, else the nearest one; positions on the grid of
            the whole clip, so that ``model.start`` is also the first frame of the run on the clock of the
            speech.
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

    def moments(self, run: slice) -> range:
        """The model frames that show one of a run of source frames."""
        first, last = (int(np.searchsorted(self.shown, edge)) for edge in (run.start, run.stop))
        return range(first, last)

    def segments(self, runs: Sequence[slice]) -> list[Segment]:
        """Turn runs of source frames, in order, into segments.

        A run that falls between two model frames takes the nearest one; where another run has that, the run
        is left out.
        """
        moments = [self.moments(run) for run in runs]
        taken = {moment for those in moments for moment in those}
        found = []
        for run, those in zip(runs, moments, strict=True):
            nearest = int(self.nearest[run.start])
            if not those and nearest not in taken:
                taken.add(nearest)
                those = range(nearest, nearest + 1)
            if those:
                found.append(Segment(range(run.start, run.stop), those))
        return found

    def source_frame(self, segment: Segment, moment: int) -> int:
        """The frame of ``segment`` that the model sees at a ``moment`` of it."""
        return min(max(int(self.shown[moment]), segment.source.start), segment.source.stop - 1)

    def model_frame(self, segment: Segment, source_frame: int) -> int:
        """The model frame of ``segment`` whose edit ``source_frame`` takes."""
        wanted = int(self.nearest[source_frame])
        return min(max(wanted, segment.model.start), segment.model.stop - 1)
