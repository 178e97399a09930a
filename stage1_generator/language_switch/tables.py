"""The tables of clips: what a model shall make, or recordings that there are."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from common.data.writer import safe_key
from common.errors import UserError
from common.files import require_file
from common.languages import language_name
from stage1_generator.footage.videos import TRACK_SUFFIX

SCRIPT = (
    *("id", "person", "first_language", "first_text", "second_language", "second_text"),
    *("first_in_second", "second_in_first"),
)
RECORDINGS = ("video", "switch", "first_language", "second_language")


@dataclass(frozen=True)
class ScriptedClip:
    """A clip that the model makes. Attributes as the columns: what each half says, and what it says in the
    other half's language.
    """

    id: str
    person: str
    first_language: str
    first_text: str
    second_language: str
    second_text: str
    first_in_second: str
    second_in_first: str

    @property
    def prompt(self) -> str:
        """Of the clip."""
        first, second = (language_name(code) for code in (self.first_language, self.second_language))
        return (
            f'{self.person} is speaking {first}, saying: "{self.first_text}" Then the same person goes on in '
            f'{second}, saying: "{self.second_text}"'
        )

    @property
    def captions(self) -> tuple[str, str]:
        """Of each half by itself."""
        said = ((self.first_language, self.first_text), (self.second_language, self.second_text))
        first, second = (
            f'{self.person} is speaking {language_name(code)}, saying: "{text}"' for code, text in said
        )
        return first, second

    @property
    def inpainted(self) -> tuple[str, str]:
        """Of the clip with its first half, and with its second half, in the language of the other."""
        first, second = (language_name(code) for code in (self.first_language, self.second_language))
        return (
            f'{self.person} is speaking {second}, saying: "{self.first_in_second} {self.second_text}"',
            f'{self.person} is speaking {first}, saying: "{self.first_text} {self.second_in_first}"',
        )


@dataclass(frozen=True)
class SwitchRecording:
    """A recording of one person. switch: seconds after its first frame at which the language changes."""

    id: str
    video: Path
    switch: float
    first_language: str
    second_language: str

    @property
    def track(self) -> Path | None:
        """The file beside the video that says where the face is; None: there is none."""
        path = self.video.with_name(self.video.stem + TRACK_SUFFIX)
        return path if path.is_file() else None


def read_script(table: Path) -> list[ScriptedClip]:
    """Raises UserError where the table is missing, or a row says too little."""
    clips = []
    for line, row in _rows(table, SCRIPT):
        for name in ("first_language", "second_language"):
            _language(table, line, row[name])
        clips.append(ScriptedClip(**{**row, "id": safe_key(row["id"])}))
    _unique(table, [clip.id for clip in clips])
    return clips


def read_recordings(table: Path) -> list[SwitchRecording]:
    """Paths lie beside the table. Raises UserError where a file is missing, or a row says too little."""
    found = []
    for line, row in _rows(table, RECORDINGS):
        video = require_file(table.parent / row["video"], "video")
        try:
            switch = float(row["switch"])
        except ValueError as error:
            raise UserError(
                f"{table}, line {line}: the switch '{row['switch']}' is no number: give seconds."
            ) from error
        for name in ("first_language", "second_language"):
            _language(table, line, row[name])
        key = safe_key(Path(row["video"]).with_suffix("").as_posix() + f"-{switch:g}".replace(".", "_"))
        found.append(SwitchRecording(key, video, switch, row["first_language"], row["second_language"]))
    _unique(table, [recording.id for recording in found])
    return found


def _rows(table: Path, columns: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    require_file(table, "table of clips")
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            named = reader.fieldnames or ()
            rows = [(reader.line_num, row) for row in reader]
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{table}: no table in UTF-8 (CSV): write it as one.") from error
    wrong = [name for name in columns if name not in named] or [n for n in named if n not in columns]
    if wrong:
        raise UserError(f"{table}: the column '{wrong[0]}' is missing or unknown; give {', '.join(columns)}.")
    if not rows:
        raise UserError(f"{table}: holds no row; add one for each clip.")
    for line, row in rows:
        empty = [name for name in columns if not (row[name] or "").strip()]
        if empty or None in row:
            raise UserError(
                f"{table}, line {line}: {empty[0] if empty else 'a column'} is empty or too much."
            )
    return [(line, {name: row[name].strip() for name in columns}) for line, row in rows]


def _language(table: Path, line: int, code: str) -> None:
    try:
        language_name(code)
    except UserError as error:
        raise UserError(f"{table}, line {line}: {error}") from error


def _unique(table: Path, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"{table}: names '{twice[0]}' twice; give every clip its own.")
