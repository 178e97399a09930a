"""Time stamps as files give them, mended so that they increase and the clock never starts again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

_TRUSTED = 0.02
"""How far a container's average rate may be from the time stamps, as a share."""


@dataclass(frozen=True)
class Stamps:
    """When the frames of a video are shown.

    Attributes:
        starts: (N,) int64 ticks, increasing.
        last_duration: ticks of the last frame.
    """

    starts: np.ndarray
    last_duration: int

    def __len__(self) -> int:
        return len(self.starts)

    def since(self, tick: int) -> Stamps:
        """On a clock that begins at ``tick``, or at the first frame where that comes before."""
        return Stamps(self.starts - min(tick, int(self.starts[0])), self.last_duration)


def unwrapped(decoded: Sequence[int], step: int, tolerance: int) -> np.ndarray:
    """What to add to each time stamp so that a clock that starts again goes on instead.

    Recordings that were joined byte by byte begin again at the time of the first one.

    Args:
        decoded: (N,) ticks in the order of decoding; they may go back by the reordering of frames.
        step: usual ticks of one frame.
        tolerance: ticks by which they go back before that is taken for a new clock.

    Returns:
        (N,) int64; all 0 where the clock never starts again.
    """
    shifts = np.zeros(len(decoded), np.int64)
    shift, highest = 0, None
    for number, stamp in enumerate(decoded):
        if highest is not None and stamp + shift < highest - tolerance:
            shift = highest + step - stamp
        shifts[number] = shift
        highest = stamp + shift if highest is None else max(highest, stamp + shift)
    return shifts


def increasing(stamps: np.ndarray, step: int) -> np.ndarray:
    """Sorted time stamps with equal ones moved apart, so that every frame is shown for a while.

    Frames of one time stamp share the time until the next one (the last ones: a ``step`` each), where that
    has as many ticks; else those that follow are moved later by as little as it takes.

    Args:
        stamps: (N,) int64 ticks, sorted.
        step: usual ticks of one frame.
    """
    values, counts = np.unique(stamps, return_counts=True)
    if len(values) == len(stamps):
        return stamps
    ends = np.append(values[1:], values[-1] + step * counts[-1])
    result, last = [], None
    for value, count, end in zip(values.tolist(), counts.tolist(), ends.tolist(), strict=True):
        for number in range(count):
            stamp = value + (end - value) * number // count
            last = stamp if last is None else max(stamp, last + 1)
            result.append(last)
    return np.asarray(result, np.int64)


def measured_rate(said: Fraction, stamps: np.ndarray, time_base: Fraction) -> Fraction:
    """Frames per second: what the container says, unless the time stamps say otherwise.

    Raw DV calls its rate 60000, some recorders 1000: what follows a head by that rate does not follow it.
    """
    if len(stamps) < 2:
        return said
    seconds = Fraction(int(stamps[-1] - stamps[0])) * time_base
    measured = (len(stamps) - 1) / seconds
    if abs(said - measured) <= _TRUSTED * measured:
        return said
    usual = float(np.median(np.diff(stamps))) * float(time_base)
    return Fraction(1 / usual).limit_denominator(1001) if usual > 0 else measured.limit_denominator(1001)
