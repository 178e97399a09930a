"""The frames that a dub shows where video and speech are not of one length."""

from __future__ import annotations

from pathlib import Path

from common.errors import UserError
from common.media import VideoInfo, VideoReader
from common.media.retiming import RetimedVideo, Retiming, cut_off, repeated, stretched
from stage2_dubber.dub.length.options import Length
from stage2_dubber.dub.length.place import SpeechPlace

TOLERANCE = 0.1
"""Seconds by which lengths may differ and still be the same: encoder padding of sound files is shorter."""

_MOST_STRETCH = 8.0


def shown_video(path: Path, rule: Length, speech: float) -> Path | RetimedVideo:
    """The video that is dubbed: the source itself, or its frames at other times.

    Args:
        path: the source.
        rule: what is done.
        speech: seconds after the first frame at which the speech ends.

    Raises:
        UserError: the video cannot be read, or played so slowly or fast.
    """
    if rule is Length.silence:
        return path
    with VideoReader(path) as reader:
        stamps, base, seconds = reader.stamps(), reader.info.time_base, reader.info.duration
    if abs(speech - seconds) <= TOLERANCE or (rule is Length.cut_off and speech > seconds):
        return path
    if rule is Length.remap:
        if not 1 / _MOST_STRETCH <= speech / seconds <= _MOST_STRETCH:
            raise UserError(
                f"The video '{path}' lasts {seconds:.2f} s and the speech {speech:.2f} s: --length remap "
                f"plays at most {_MOST_STRETCH:g} times slower or faster."
            )
        return RetimedVideo(path, stretched(stamps, base, speech))
    if speech < seconds:
        return RetimedVideo(path, cut_off(stamps, base, speech))
    return RetimedVideo(path, repeated(stamps, base, speech, rule is Length.bounce))


def length_warnings(
    rule: Length, info: VideoInfo, place: SpeechPlace, seconds: float, retiming: Retiming | None
) -> list[str]:
    """What is done about different lengths, in at most one sentence.

    Args:
        rule: of the job.
        info: of the source.
        place: of the speech.
        seconds: how long it is.
        retiming: of the video that is dubbed; None: it is the source.
    """
    video, speech, frames = info.duration, place.zero + seconds, info.frame_count
    if retiming is None:
        return _unchanged(rule, video, speech, place.end)
    if rule is Length.remap:
        return [
            f"The video is played at {float(retiming.speed):.3g} times its speed, so that its {video:.2f} s "
            f"become the speech's {speech:.2f} s."
        ]
    if len(retiming) < frames:
        return [
            f"The video is cut off after {retiming.seconds:.2f} of {video:.2f} s, where the speech ends: "
            f"{len(retiming)} of {frames} frames."
        ]
    how = "forward and backward in turn" if rule is Length.bounce else "again and again"
    return [
        f"The video is played {how} until the speech ends: {len(retiming)} frames of {frames}, "
        f"{retiming.seconds:.2f} s of {video:.2f} s."
    ]


def _unchanged(rule: Length, video: float, speech: float, end: float | None) -> list[str]:
    if end is not None and speech > end + TOLERANCE:
        return [f"The speech is cut off at --end, {speech - end:.1f} s before its own end."]
    part = end is not None and end < video
    if end is not None and part and speech < end - TOLERANCE:
        return [f"The speech ends {end - speech:.1f} s before --end: from there on the lips follow silence."]
    if part:
        return []
    if speech < video - TOLERANCE:
        return [
            f"The speech ends {video - speech:.1f} s before the video: from there on the lips follow silence."
        ]
    if speech > video + TOLERANCE and rule is Length.cut_off:
        return [f"The sound is cut off after {video:.2f} of {speech:.2f} s, where the video ends."]
    if speech > video + TOLERANCE:
        return [
            f"The speech is {speech - video:.1f} s longer than the video: it is kept whole and goes on after "
            "the last picture."
        ]
    return []
