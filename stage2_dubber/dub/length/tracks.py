"""What is heard of a dub, and what is carried over of its video, where not all of it is shown as it was."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from common.media.further_tracks import FurtherTracks, further_tracks
from common.media.retiming import Retiming
from common.media.soundtrack import FORMATS, sound_warnings
from stage2_dubber.dub.length.options import Length

_PCM = (".mkv", ".mov")


def carried_tracks(
    video: Path, suffix: str, rule: Length, retiming: Retiming | None
) -> tuple[FurtherTracks, tuple[str, ...]]:
    """Further tracks of a video for an output that ends in ``suffix``, and what is lost, a sentence each.

    Raises:
        UserError: the file cannot be opened.
    """
    found = further_tracks(video, suffix)
    lost = found.warnings(suffix)
    if retiming is None:
        return found, lost
    if rule is not Length.remap and len(set(retiming.shown.tolist())) == len(retiming):
        return replace(found, end=Fraction(retiming.seconds).limit_denominator(1_000_000)), lost
    if found.sounds or found.streams:
        lost += (
            f"Further sound, subtitle and data tracks of the video do not follow --length {rule.value}: left "
            "out.",
        )
    return found.untimed, lost


def sound_losses(
    audio: Path, track: int | None, suffix: str, patched: bool, mixes: bool = False
) -> tuple[str, ...]:
    """What becomes of the speech's sound in an output that ends in ``suffix``, where it is not copied.

    Args:
        audio, track: the speech.
        suffix: of the output.
        patched: whether the video's own sound is heard outside of a part.
        mixes: whether the sound is put together from the files of a cue file.

    Raises:
        UserError: there is no such track.
    """
    if not patched:
        return sound_warnings(audio, suffix, track)
    kind = _kind(suffix)
    if mixes:
        return (
            f"The sound is put together from the files of the cues, and written as {kind}; --audio gives one "
            "that is kept as given.",
        )
    return (
        f"The sound is put together from the video's own and the speech, and written as {kind}; with "
        "--outside silence the speech is kept as given.",
    )


def made_sound_losses(suffix: str) -> tuple[str, ...]:
    """What becomes of the video's sound where the model makes the speech, a sentence each."""
    return (
        f"The sound is made by the model where a face is dubbed, also where the video's own had music or "
        f"noise, and written as {_kind(suffix)}.",
    )


def _kind(suffix: str) -> str:
    """How sound that is put together is written."""
    return "24-bit PCM" if suffix in _PCM else "Opus" if FORMATS[suffix] == "webm" else "AAC"
