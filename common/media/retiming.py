"""Videos that show the frames of another one in another order or at other times.

What is made of such a video sees it as any other: :class:`RetimedReader` gives its frames one by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from common.files import PathLike
from common.media.info import VideoInfo
from common.media.reader import Frame, VideoReader
from common.media.stamps import Stamps

_HELD_BYTES = 256 * 2**20
"""Of decoded pictures that wait while a video is played backward."""
_FINE = 10_000  # ticks per second of a clock that is slowed down or sped up, at least


@dataclass(frozen=True)
class Retiming:
    """Which frame of the source is shown when.

    Attributes:
        shown: (M,) int64, the source's frame that each frame shows; up to the first repetition in its order.
        stamps: of the M frames; the first is that of the source.
        time_base: seconds per tick.
        joints: frames that do not follow the one before in the source.
        speed: of the pictures, 1 as they were.
    """

    shown: NDArray[np.int64]
    stamps: Stamps
    time_base: Fraction
    joints: tuple[int, ...] = ()
    speed: Fraction = Fraction(1)

    def __len__(self) -> int:
        return len(self.shown)

    @property
    def seconds(self) -> float:
        """From the first frame's start to the last one's end."""
        ticks = int(self.stamps.starts[-1] - self.stamps.starts[0]) + self.stamps.last_duration
        return float(ticks * self.time_base)

    @property
    def runs(self) -> list[tuple[range, int]]:
        """Stretches of frames, and the step of the source's frames in each: 1 forward, -1 backward."""
        joints = set(self.joints)
        # Where the direction changes, the frame at the turn belongs to the run before.
        turns = (np.flatnonzero(np.diff(self.shown, n=2)) + 2).tolist()
        found = []
        for a, b in pairwise(sorted({0, len(self), *joints, *(e for e in turns if e - 1 not in joints)})):
            backward = b - a > 1 and self.shown[a + 1] < self.shown[a]
            found.append((range(a, b), -1 if backward else 1))
        return found


def cut_off(stamps: Stamps, time_base: Fraction, seconds: float) -> Retiming:
    """The frames that begin before ``seconds``, the first one at least."""
    times = (stamps.starts - stamps.starts[0]) * float(time_base)
    count = max(1, int(np.searchsorted(times, seconds - 1e-9)))
    last = stamps.last_duration if count == len(times) else int(np.diff(stamps.starts)[count - 1])
    return Retiming(np.arange(count), Stamps(stamps.starts[:count], last), time_base)


def repeated(stamps: Stamps, time_base: Fraction, seconds: float, bounce: bool) -> Retiming:
    """All frames again and again until ``seconds`` are over; with ``bounce`` forward and backward in turn.

    Frames at the turns are shown once.
    """
    count = len(stamps)
    forward = np.arange(count)
    period = np.concatenate([forward, forward[-2:0:-1]]) if bounce else forward
    lengths = np.append(np.diff(stamps.starts), stamps.last_duration)
    wanted = seconds / float(time_base)
    times = int(np.ceil(wanted / lengths[period].sum()))
    shown = np.tile(period, times)
    starts = np.concatenate([[0], np.cumsum(lengths[shown])])
    frames = max(1, int(np.searchsorted(starts[:-1], wanted - 1e-6)))
    joints = () if bounce and count > 1 else tuple(range(count, frames, count))
    last = int(lengths[shown[frames - 1]])
    return Retiming(shown[:frames], Stamps(starts[:frames] + stamps.starts[0], last), time_base, joints)


def stretched(stamps: Stamps, time_base: Fraction, seconds: float) -> Retiming:
    """Every frame once, all times multiplied so that they last ``seconds``.

    Raises:
        ValueError: two frames would have one time stamp.
    """
    finer = max(1, int(np.ceil(_FINE * float(time_base))))
    ticks = np.append(stamps.starts, stamps.starts[-1] + stamps.last_duration) - stamps.starts[0]
    factor = seconds / (int(ticks[-1]) * float(time_base))
    moved = np.rint(ticks * (factor * finer)).astype(np.int64)
    if (np.diff(moved) < 1).any():
        raise ValueError("frames would be shown for no time")
    starts = moved[:-1] + int(stamps.starts[0]) * finer
    speed = Fraction(1 / factor).limit_denominator(100_000)
    last = int(moved[-1] - moved[-2])
    return Retiming(np.arange(len(stamps)), Stamps(starts, last), time_base / finer, (), speed)


@dataclass(frozen=True)
class RetimedVideo:
    """A video file and the times at which its frames are shown."""

    path: PathLike
    retiming: Retiming


def retimed_info(info: VideoInfo, retiming: Retiming) -> VideoInfo:
    """The facts of a retimed video, from those of its source."""
    finer = info.time_base / retiming.time_base
    return replace(
        info,
        frame_count=len(retiming),
        time_base=retiming.time_base,
        average_rate=(info.average_rate * retiming.speed).limit_denominator(100_000),
        duration=retiming.seconds,
        clock_start=int(info.clock_start * finer),
    )


class RetimedReader(VideoReader):
    """The frames of a :class:`RetimedVideo`; arguments and errors as of :class:`VideoReader`.

    Backward stretches are decoded in parts, each from the file's beginning: memory stays bounded.
    """

    def __init__(self, video: RetimedVideo, samples: bool = False) -> None:
        super().__init__(video.path, samples)
        self._retiming = video.retiming
        self._bytes = self.info.width * self.info.height * (6 if samples else 3)
        self.info = retimed_info(self.info, self._retiming)

    def times(self) -> NDArray[np.float64]:
        starts, base = self._retiming.stamps.starts, self._retiming.time_base
        return (starts - starts[0]) * base.numerator / base.denominator

    def stamps(self) -> Stamps:
        return self._retiming.stamps

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """Frames ``start`` to ``stop`` (exclusive; None: to the end) of the retimed video."""
        last = len(self._retiming) if stop is None else min(stop, len(self._retiming))
        times, stamps = self.times(), self._retiming.stamps
        ends = np.append(stamps.starts[1:], stamps.starts[-1] + stamps.last_duration)
        for run, step in self._retiming.runs:
            part = range(max(run.start, start), min(run.stop, last))
            if not part:
                continue
            for index, frame in zip(part, self._run(part, step), strict=True):
                pts = int(stamps.starts[index])
                duration = int(ends[index]) - pts
                yield replace(frame, index=index, pts=pts, time=float(times[index]), duration=duration)

    def _run(self, part: range, step: int) -> Iterator[Frame]:
        """The source's frames of a stretch."""
        first, last = int(self._retiming.shown[part.start]), int(self._retiming.shown[part.stop - 1])
        if step > 0:
            yield from super().frames(first, last + 1)
            return
        held = max(1, _HELD_BYTES // self._bytes)
        for end in range(first + 1, last, -held):
            yield from reversed(list(super().frames(max(last, end - held), end)))


def open_video(video: PathLike | RetimedVideo, samples: bool = False) -> VideoReader:
    """A reader of a video as it is, or retimed."""
    return RetimedReader(video, samples) if isinstance(video, RetimedVideo) else VideoReader(video, samples)
