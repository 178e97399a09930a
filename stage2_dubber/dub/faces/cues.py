"""Several speakers: a list of who says what when."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from common.files import require_file
from common.media import SAMPLE_RATE, load_audio
from stage2_dubber.dub.faces.choice import FaceChoice

_COLUMNS = ("start", "end", "face", "audio")


@dataclass(frozen=True)
class Cue:
    """One line.

    Attributes:
        start, end: seconds on the video's clock.
        face: who speaks: a number or a place.
        audio: what is said, from ``start`` on; None: what the job's own audio says at this time.
    """

    start: float
    end: float
    face: FaceChoice
    audio: Path | None


def read_cues(path: Path) -> tuple[Cue, ...]:
    """Read a table (CSV) with the columns start, end, face and audio; in order of time.

    Audio files are looked for beside the table; an empty field means the job's own audio.

    Raises:
        UserError: no such table, a line that makes no sense, or two lines at one time.
    """
    require_file(path, "cue file")
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            missing = set(_COLUMNS[:3]) - set(reader.fieldnames or [])
            if missing:
                raise UserError(
                    f"The cue file '{path}' has no column '{min(missing)}': its first line must be "
                    "start,end,face,audio."
                )
            cues = [_cue(row, path, reader.line_num) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"The cue file '{path}' is no table in UTF-8 (CSV): write it as one.") from error
    if not cues:
        raise UserError(f"The cue file '{path}' has no line after its first: add start, end, face and audio.")
    cues.sort(key=lambda cue: cue.start)
    for one, other in pairwise(cues):
        if other.start < one.end:
            raise UserError(
                f"The cue file '{path}' has two cues at {other.start:g} s: one face at a time is dubbed; put "
                "the second into a cue file of its own and dub the first result with it."
            )
    return tuple(cues)


def cued_speech(path: Path, audio: NDArray[np.float32], seconds: float) -> NDArray[np.float32]:
    """What the faces say: (samples,) at 16 kHz over ``seconds``, silence between the cues.

    Args:
        path: of the table.
        audio: (samples,) the job's own audio at 16 kHz.
        seconds: length of the video.

    Raises:
        UserError: as :func:`read_cues`, or a cue begins after the video's end.
    """
    cues = read_cues(path)
    if cues[-1].start >= seconds:
        raise UserError(
            f"The cue file '{path}' has a cue at {cues[-1].start:g} s, but the video ends at {seconds:.2f} "
            "s: mend its times."
        )
    speech = np.zeros(math.ceil(seconds * SAMPLE_RATE), np.float32)
    for cue in cues:
        first, last = round(cue.start * SAMPLE_RATE), min(round(cue.end * SAMPLE_RATE), len(speech))
        said = audio[first:] if cue.audio is None else load_audio(cue.audio, SAMPLE_RATE)
        said = said[: last - first]
        speech[first : first + len(said)] = said
    return speech


def _cue(row: dict[str, str | None], path: Path, line: int) -> Cue:
    where = f"The cue file '{path}', line {line},"
    if None in row:
        raise UserError(
            f"{where} has more cells than the first line has names: add the name or quote commas."
        )
    try:
        start, end = (float(row[name] or "") for name in ("start", "end"))
    except ValueError as error:
        raise UserError(f"{where} gives no number as start or end: write seconds.") from error
    if not (math.isfinite(end) and 0 <= start < end):
        raise UserError(f"{where} runs from {start:g} to {end:g} s: give a start from 0 on and a later end.")
    try:
        face = FaceChoice.parse((row["face"] or "").strip())
    except UserError:
        face = FaceChoice()
    if face.way not in ("person", "point"):
        raise UserError(f"{where} names no face: give a number of 'bootdub faces' or a place \"x,y\".")
    named = (row.get("audio") or "").strip()
    audio = require_file(path.parent / named, f"audio of line {line} of the cue file") if named else None
    return Cue(start, end, face, audio)
