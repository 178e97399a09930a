"""What is to be dubbed with what: a CSV with one row per clip."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from common.errors import UserError
from common.files import PathLike, require_file
from common.languages import language_name
from evaluation.metrics.base import Kind

REQUIRED = ("video", "audio")
OPTIONAL = ("name", "group", "truth", "track", "audio_track", "sound_delay", "scene", "text", "language")
NOTES = ("score", "most", "frames")
"""Columns that curation writes for people to read."""
SILENCE = "silence"
SELF = "self"
DEFAULT_GROUP = "all clips"
MOST_DELAY = 1.0
"""Seconds: a recording whose sound is further from its picture than that is of no use for comparisons."""


@dataclass(frozen=True)
class Case:
    """One row: a video and the speech that it shall say.

    Attributes:
        name: unique; names of files are made of it.
        video: the source.
        audio: the speech, a sound file or a video; None for silence.
        kind: what the speech is against the video.
        group: heading of the tables.
        truth: the video as it should become, frame by frame; None where it is not known.
        track: where the face is (and what covers it), as ``bootdub dub --track`` takes it.
        audio_track: the same for the video that the speech comes from, whose mouth is compared with.
        sound_delay: seconds by which the sound of ``audio`` comes after its own picture, negative where it
            comes before it: a dub follows the sound, and is compared with the mouth that made it.
        scene: JSON of a drawn character, by which mouths are measured exactly.
        text: the words of the speech, for word errors of systems that make the speech themselves.
        language: of ``text``, its code, for systems that speak it.
        base: of a probe: the row that it was made of.
    """

    name: str
    video: Path
    audio: Path | None
    kind: Kind
    group: str = DEFAULT_GROUP
    truth: Path | None = None
    track: Path | None = None
    audio_track: Path | None = None
    sound_delay: float = 0.0
    scene: Path | None = None
    text: str | None = None
    language: str | None = None
    base: str | None = None

    @property
    def files(self) -> dict[str, Path]:
        """Every file that the row names, by what it is."""
        names = ("video", "audio", "truth", "track", "audio_track", "scene")
        return {name: path for name in names if (path := getattr(self, name)) is not None}


def read_manifest(path: PathLike, left_out: list[str] | None = None) -> list[Case]:
    """Read and check a manifest.

    A CSV (UTF-8) with a heading. Columns: ``video`` and ``audio``; optional ``name`` (else that of the two
    files), ``group``, ``truth``, ``track``, ``audio_track``, ``sound_delay``,
    ``scene``, ``text``, ``language``. Paths are relative to the manifest. ``audio`` may be ``silence``, or
    ``self`` for the video's own sound.

    Args:
        path: the CSV.
        left_out: where given, a row that is bad or names a missing file is left out, and the sentence on it
            appended here; the other rows are read.

    Raises:
        UserError: no such file, an unknown or missing column, a missing file, a name that occurs twice, a
            ``sound_delay`` that is no number of seconds up to one.
    """
    source = require_file(path, "manifest")
    try:
        with source.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, strict=True)
            columns = reader.fieldnames or []
            _check_columns(source, columns)
            rows = [(reader.line_num, row) for row in reader]
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"The manifest '{source}' is not a CSV file ({error}): export it again.") from error
    if not rows:
        raise UserError(f"The manifest '{source}' has no rows: add one per clip.")
    cases = []
    for line, row in rows:
        try:
            cases.append(_case(source, line, row))
        except UserError as error:
            if left_out is None:
                raise
            left_out.append(str(error))
    seen: set[str] = set()
    for case in cases:
        if case.name in seen:
            raise UserError(
                f"The manifest '{source}' has two rows named '{case.name}': give names in the column 'name'."
            )
        seen.add(case.name)
    return cases


def _check_columns(source: Path, columns: Sequence[str]) -> None:
    for column in REQUIRED:
        if column not in columns:
            raise UserError(f"The manifest '{source}' has no column '{column}': it needs video and audio.")
    for column in columns:
        if column not in REQUIRED + OPTIONAL + NOTES:
            raise UserError(
                f"The manifest '{source}' has an unknown column '{column}': the columns are "
                f"{', '.join(REQUIRED + OPTIONAL)}."
            )


def _case(source: Path, line: int, row: dict[str, str | None]) -> Case:
    values = {key: (row.get(key) or "").strip() for key in REQUIRED + OPTIONAL}
    if None in row or any(value is None for value in row.values()):
        raise UserError(f"The manifest '{source}', line {line}, has not as many cells as columns: mend it.")
    for column in REQUIRED:
        if not values[column]:
            raise UserError(f"The manifest '{source}', line {line}, has an empty '{column}': fill it in.")

    def located(column: str) -> Path | None:
        if not values[column]:
            return None
        return require_file(source.parent / values[column], f"{column} (line {line} of '{source}')")

    video = located("video")
    assert video is not None
    spoken = values["audio"]
    audio = None if spoken == SILENCE else video if spoken == SELF else located("audio")
    name = values["name"] or f"{video.stem}-{'silence' if audio is None else audio.stem}"
    return Case(
        name=_safe_name(source, line, name),
        video=video,
        audio=audio,
        kind=_kind(video, audio),
        group=values["group"] or DEFAULT_GROUP,
        truth=located("truth"),
        track=located("track"),
        audio_track=located("audio_track"),
        sound_delay=_delay(source, line, values["sound_delay"]),
        scene=located("scene"),
        text=values["text"] or None,
        language=_language(source, line, values["language"]),
    )


def _delay(source: Path, line: int, word: str) -> float:
    try:
        delay = float(word or 0)
    except ValueError:
        delay = math.nan
    if not abs(delay) <= MOST_DELAY:
        raise UserError(
            f"The manifest '{source}', line {line}, has the sound_delay '{word}': give the seconds by which "
            f"the sound comes after the picture, from -{MOST_DELAY:g} to {MOST_DELAY:g}."
        )
    return delay


def _language(source: Path, line: int, code: str) -> str | None:
    if not code:
        return None
    try:
        language_name(code)
    except UserError as error:
        raise UserError(f"The manifest '{source}', line {line}: {error}") from error
    return code


def _safe_name(source: Path, line: int, name: str) -> str:
    # Names become file names below the output folder, and must not leave it.
    if "/" in name or "\\" in name or name.startswith(".") or not name.isprintable():
        raise UserError(
            f"The manifest '{source}', line {line}, names a row '{name}': use a name that a file may have."
        )
    return name


def _kind(video: Path, audio: Path | None) -> Kind:
    if audio is None:
        return Kind.silence
    return Kind.self if audio.resolve() == video.resolve() else Kind.cross


PROBES = (Kind.self, Kind.silence, Kind.cycle)


def with_probes(cases: Sequence[Case], probes: Sequence[Kind], silent: Sequence[Path] = ()) -> list[Case]:
    """The rows, and after each the probes that are made of it.

    ``self`` and ``silence`` are made once per video, ``cycle`` once per row with other speech.

    Args:
        probes: of :data:`PROBES`.
        silent: videos without sound: nothing can be made of their own speech.
    """
    made: set[tuple[Path, Kind]] = {(case.video, case.kind) for case in cases}
    mute = set(silent)
    found: list[Case] = []
    for case in cases:
        found.append(case)
        for probe in probes:
            if probe is not Kind.silence and case.video in mute:
                continue
            once = (case.video, probe)
            if probe is Kind.cycle:
                if case.kind is not Kind.cross:
                    continue
            elif once in made:
                continue
            made.add(once)
            found.append(_probe(case, probe))
    return found


def _probe(case: Case, probe: Kind) -> Case:
    audio = None if probe is Kind.silence else case.video
    return replace(
        case,
        name=f"{case.name}+{probe.value}",
        audio=audio,
        kind=probe,
        # What is true of other words is not true of these: of its own words the video itself is the truth.
        truth=None if probe is Kind.silence else case.video,
        audio_track=None if probe is Kind.silence else case.track,
        sound_delay=0.0,
        text=None,
        language=None,
        base=case.name,
    )
