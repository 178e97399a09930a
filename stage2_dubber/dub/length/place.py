"""Where the speech lies on the clock of a video, and which part of the video is dubbed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from common.media import SAMPLE_RATE
from common.media.soundtrack import SoundPlace
from stage2_dubber.dub.length.options import Length, Outside, Timing


@dataclass(frozen=True)
class SpeechPlace:
    """Seconds after the video's first frame.

    Attributes:
        zero: of the beginning of the speech file.
        begin: of the part that is dubbed.
        end: of it, where the speech is cut off; None: both go on to their ends.
        is_part: whether not all of the video is dubbed.
    """

    zero: float
    begin: float = 0.0
    end: float | None = None
    is_part: bool = False

    @property
    def sound(self) -> SoundPlace:
        """The same for sounds."""
        end = None if self.end is None else _exact(self.end)
        return SoundPlace(_exact(self.zero), _exact(self.begin), end)

    def frames(self, times: NDArray[np.float64]) -> range:
        """The frames that are dubbed, of those that begin at ``times`` (N,)."""
        return frames_between(times, self.begin, math.inf if self.end is None else self.end)

    def placed(self, samples: NDArray[np.int16]) -> NDArray[np.int16]:
        """What is said on the video's clock: (samples,) at 16 kHz, with silence before it."""
        zero, begin = round(self.zero * SAMPLE_RATE), round(self.begin * SAMPLE_RATE)
        moved = samples[max(0, -zero) :]
        if zero > 0 or begin > 0:
            moved = np.concatenate([np.zeros(max(0, zero), np.int16), moved])
            moved[:begin] = 0
        return moved if self.end is None else moved[: round(self.end * SAMPLE_RATE)]


def frames_between(times: NDArray[np.float64], begin: float, end: float) -> range:
    """The frames that begin from ``begin`` on and before ``end``, of those that begin at ``times`` (N,)."""
    first, last = np.searchsorted(times, [begin - 1e-6, end - 1e-6]).tolist()
    return range(first, last)


def require_frames(times: NDArray[np.float64], begin: float, end: float, what: str) -> None:
    """Refuse what is to be dubbed from ``begin`` to ``end`` where no frame begins in it.

    Args:
        times: (N,) at which frames begin.
        begin, end: seconds.
        what: it is, for the message.

    Raises:
        UserError: no frame begins in it.
    """
    if not frames_between(times, begin, end):
        raise UserError(
            f"{what} from {begin:g} to {end:g} s is so short that no frame begins in it: make it longer."
        )


def speech_place(
    timing: Timing, video: float, speech: float, cues: bool = False, mixes: bool = False
) -> SpeechPlace:
    """Where the speech of a job lies.

    Args:
        timing: what the job says.
        video, speech: their lengths in seconds.
        cues: whether a cue file says who speaks when.
        mixes: whether the sound is put together from its files.

    Raises:
        UserError: the times make no sense, or nothing would be said.
    """
    begin, end = timing.start or 0.0, timing.end
    for name, value in (("--start", timing.start), ("--end", end), ("--offset", timing.offset)):
        if value is not None and not math.isfinite(value):
            raise UserError(f"{name} is {value}: give seconds.")
    if begin < 0 or begin >= video:
        raise UserError(f"--start is {begin:g} s, but the video runs from 0 to {video:.2f} s.")
    if end is not None and end <= begin:
        raise UserError(f"--end is {end:g} s, which is not after the start at {begin:g} s.")
    place = SpeechPlace(begin + timing.offset, begin, end, begin > 0 or (end is not None and end < video))
    if (place.is_part or timing.offset) and cues:
        raise UserError("--cues says what is dubbed when: leave --start, --end and --offset away.")
    if timing.length is not Length.silence and (place.is_part or end is not None or cues):
        raise UserError(
            f"--length {timing.length.value} changes how long the video is: leave --start, --end and --cues "
            "away."
        )
    if place.zero + speech <= begin:
        raise UserError(
            f"With --offset {timing.offset:g} nothing of the speech is left, which lasts {speech:.2f} s."
        )
    longest = timing.length in (Length.silence, Length.cut_off)
    if place.zero >= (place.end or video) and longest:
        raise UserError(
            f"With --offset {timing.offset:g} the speech begins at {place.zero:.2f} s, after what is dubbed."
        )
    part_given = timing.start is not None or timing.end is not None
    if not (part_given or mixes) and timing.outside is not Outside.own:
        raise UserError(
            "--outside is about a part that is dubbed: give --start or --end, or --cues without --audio."
        )
    return place


def _exact(seconds: float) -> Fraction:
    return Fraction(seconds).limit_denominator(1_000_000)
