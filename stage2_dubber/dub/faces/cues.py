"""Several speakers: a list of who says what when."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from common.files import require_file
from common.media import SAMPLE_RATE, load_samples
from common.media.patched import SoundPatch
from common.media.soundtrack import SoundPlace
from stage2_dubber.dub.faces.choice import FaceChoice
from stage2_dubber.dub.lists.table import Row, each_row, read_table

_COLUMNS = ("start", "end", "face", "audio")


@dataclass(frozen=True)
class Cue:
    """One line.

    Attributes:
        line: of the table.
        start, end: seconds on the video's clock.
        face: who speaks: a number or a place.
        audio: what is said, from ``start`` on; None: what the job's own audio says at this time.
    """

    line: int
    start: float
    end: float
    face: FaceChoice
    audio: Path | None


@dataclass(frozen=True)
class SpokenCue:
    """A cue and what is said in it.

    Attributes:
        cue: the line.
        samples: (n,) int16 mono at 16 kHz, from its start on; what is not within the cue is left out.
    """

    cue: Cue
    samples: NDArray[np.int16]


def read_cues(path: Path) -> tuple[Cue, ...]:
    """Read a table (CSV) with the columns start, end, face and audio; in order of time.

    Audio files are looked for beside the table; an empty field means the job's own audio.

    Raises:
        UserError: no such table, lines that make no sense, or two lines for one face at one time.
    """
    columns, rows = read_table(path, "cue file")
    missing = set(_COLUMNS[:3]) - set(columns)
    if missing:
        raise UserError(
            f"The cue file '{path}' has no column '{min(missing)}': its first line must be "
            "start,end,face,audio."
        )
    if not rows:
        raise UserError(f"The cue file '{path}' has no line after its first: add start, end, face and audio.")
    cues = each_row(rows, lambda line, row: _cue(row, path, line), _refused(path))
    cues.sort(key=lambda cue: cue.start)
    spoken: dict[FaceChoice, list[Cue]] = {}
    for cue in cues:
        spoken.setdefault(cue.face, []).append(cue)
    for own in spoken.values():
        require_one_voice(own, path)
    return tuple(cues)


def require_cues(cues: Collection[Cue], path: Path, check: Callable[[Cue], None]) -> None:
    """Refuse the cues for which ``check`` raises an error; all of them are named.

    Raises:
        UserError: there are some.
    """
    each_row([(cue.line, cue) for cue in cues], lambda _, cue: check(cue), _refused(path))


def require_one_voice(cues: Collection[Cue], path: Path) -> None:
    """Refuse cues of one face that overlap.

    Args:
        cues: in order of time.
        path: of their table.

    Raises:
        UserError: two do.
    """
    end = 0.0
    for cue in cues:
        if cue.start < end:
            raise UserError(
                f"The cue file '{path}' has two cues for one face at {cue.start:g} s: a face says one thing "
                "at a time; end the first before the second begins."
            )
        end = cue.end


def spoken_cues(path: Path, audio: NDArray[np.int16] | None, seconds: float) -> tuple[SpokenCue, ...]:
    """The cues of a table with what is said in them.

    Args:
        path: of the table.
        audio: (samples,) the job's own audio at 16 kHz; None: it has none, every cue names a file.
        seconds: length of the video.

    Raises:
        UserError: as :func:`read_cues`, a cue begins after the video's end, or names no file where it must.
    """
    cues = read_cues(path)

    def check(cue: Cue) -> None:
        if cue.start >= seconds:
            raise UserError(
                f"it begins at {cue.start:g} s, but the video ends at {seconds:.2f} s: mend its times."
            )
        if cue.audio is None and audio is None:
            raise UserError("it names no audio: name a file there, or give --audio.")

    require_cues(cues, path, check)
    found = []
    for cue in cues:
        first, last = round(cue.start * SAMPLE_RATE), round(min(cue.end, seconds) * SAMPLE_RATE)
        if cue.audio is not None:
            said = load_samples(cue.audio, SAMPLE_RATE)
        else:
            assert audio is not None
            said = audio[first:]
        found.append(SpokenCue(cue, said[: last - first].copy()))
    return tuple(found)


def cued_speech(cues: Collection[SpokenCue], seconds: float) -> NDArray[np.int16]:
    """What one face says in ``cues``: (samples,) at 16 kHz over ``seconds``, silence between them."""
    speech = np.zeros(math.ceil(seconds * SAMPLE_RATE), np.int16)
    for spoken in cues:
        first = round(spoken.cue.start * SAMPLE_RATE)
        said = spoken.samples[: len(speech) - first]
        speech[first : first + len(said)] = said
    return speech


def cue_sounds(path: Path) -> tuple[SoundPatch, ...]:
    """The sounds of all cues of a table that name one, each at its time.

    Raises:
        UserError: as :func:`read_cues`.
    """
    return tuple(
        SoundPatch(cue.audio, SoundPlace(_exact(cue.start), _exact(cue.start), _exact(cue.end)))
        for cue in read_cues(path)
        if cue.audio is not None
    )


def _exact(seconds: float) -> Fraction:
    return Fraction(seconds).limit_denominator(1_000_000)


def _refused(path: Path) -> str:
    return f"The cue file '{path}' has rows that make no sense"


def _cue(row: Row, path: Path, line: int) -> Cue:
    if None in row:
        raise UserError("it has more cells than the first line has names: add the name or quote commas.")
    try:
        start, end = (float(row[name] or "") for name in ("start", "end"))
    except ValueError as error:
        raise UserError("it gives no number as start or end: write seconds, as 2.5.") from error
    if not (math.isfinite(end) and 0 <= start < end):
        raise UserError(f"it runs from {start:g} to {end:g} s: give a start from 0 on and a later end.")
    try:
        face = FaceChoice.parse((row["face"] or "").strip())
    except UserError:
        face = FaceChoice()
    if face.way not in ("person", "point"):
        raise UserError("it names no face: give a number of 'bootdub faces' or a place \"x,y\".")
    named = (row.get("audio") or "").strip()
    audio = require_file(path.parent / named, "audio") if named else None
    return Cue(line, start, end, face, audio)
