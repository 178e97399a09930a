"""The user's folder of videos: which files, what lies beside them, and who speaks."""

from __future__ import annotations

import csv
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from common.files import read_json, require_file
from stage1_generator.config import PrepareConfig

TRACK_SUFFIX = ".track.safetensors"
# `<id>_a.mp4` and `<id>_b.mp4` of a rendered pair share one `<id>.json`.
_PAIR_SUFFIX = re.compile(r"_[ab]$")


@dataclass(frozen=True)
class VideoFile:
    """One video, its name relative to the folder, and its sidecars where they exist."""

    path: Path
    name: str
    speaker: str
    track: Path | None

    @property
    def inputs(self) -> list[Path]:
        """Files whose content decides what is prepared."""
        return [self.path] if self.track is None else [self.path, self.track]


def find_videos(config: PrepareConfig) -> list[VideoFile]:
    """All videos under `config.videos` in name order, with their speakers.

    Raises:
        UserError: no such folder, no videos in it or in the part, or a speaker table that cannot be used.
    """
    folder = Path(config.videos)
    if not config.videos or not folder.is_dir():
        raise UserError(f"prepare.videos is '{config.videos}', which is no folder: name a folder of videos.")
    extensions = {extension.lower() for extension in config.extensions}
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in extensions and path.is_file() and not _hidden(path.relative_to(folder))
    )
    if not paths:
        raise UserError(
            f"No video ({', '.join(config.extensions)}) lies under '{folder}': check prepare.videos."
        )
    table = _SpeakerTable.read(config) if config.speakers else None
    videos = []
    for path in paths[: config.limit or None]:
        name = path.relative_to(folder).as_posix()
        track = path.with_name(path.stem + TRACK_SUFFIX)
        speaker = (
            _sidecar_speaker(path)
            or (table.find(name) if table else "")
            or _default_speaker(path, name, config)
        )
        videos.append(VideoFile(path, name, speaker, track if track.is_file() else None))
    if not config.part:
        return videos
    number, parts = _part(config.part)
    mine = [video for video in videos if part_of(video.speaker, parts) == number]
    if not mine:
        raise UserError(f"No video of '{folder}' is in part {config.part}: leave this part away.")
    return mine


def part_of(speaker: str, parts: int) -> int:
    """In which of so many parts the videos of a speaker are, whatever other videos there are."""
    return int.from_bytes(hashlib.sha256(speaker.encode()).digest()[:8], "big") % parts


def _part(text: str) -> tuple[int, int]:
    number, _, parts = text.partition("/")
    if not (number.isdecimal() and parts.isdecimal() and int(number) < int(parts)):
        raise UserError(f"prepare.part is '{text}': write K/N, K from 0 to N - 1.")
    return int(number), int(parts)


def _hidden(relative: Path) -> bool:
    return any(part.startswith(".") for part in relative.parts)


def _default_speaker(path: Path, name: str, config: PrepareConfig) -> str:
    return path.parent.name if config.speaker_from == "folder" else name


def _sidecar_speaker(path: Path) -> str:
    for stem in (path.stem, _PAIR_SUFFIX.sub("", path.stem)):
        sidecar = path.with_name(stem + ".json")
        if sidecar.is_file():
            content = read_json(sidecar)
            if isinstance(content, dict) and content.get("speaker"):
                return str(content["speaker"])
    return ""


class _SpeakerTable:
    """Speakers by file; a row fits a video when one path ends with the other."""

    def __init__(self, rows: dict[str, list[tuple[tuple[str, ...], str]]]) -> None:
        self._rows = rows

    @classmethod
    def read(cls, config: PrepareConfig) -> _SpeakerTable:
        path = require_file(config.speakers, "speaker table")
        file_column, name_column = config.speakers_file_column, config.speakers_name_column
        rows: dict[str, list[tuple[tuple[str, ...], str]]] = {}
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream, delimiter="," if path.suffix.lower() == ".csv" else "\t")
            missing = {file_column, name_column} - set(reader.fieldnames or [])
            if missing:
                raise UserError(
                    f"The speaker table '{path}' has no column {sorted(missing)[0]!r}: set "
                    "prepare.speakers_file_column and prepare.speakers_name_column."
                )
            for row in reader:
                parts = Path(row[file_column] or "").parts
                if parts and row[name_column]:
                    rows.setdefault(parts[-1], []).append((parts, row[name_column]))
        return cls(rows)

    def find(self, name: str) -> str:
        parts = Path(name).parts
        best, speaker = 0, ""
        for candidate, label in self._rows.get(parts[-1], []):
            shared = min(len(candidate), len(parts))
            if candidate[-shared:] == parts[-shared:] and shared > best:
                best, speaker = shared, label
        return speaker
