"""Speech without faces for `python -m common.phonetics.label`: played, synthesised, and from folders."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from common.data.prepared import PreparedClip
from common.errors import UserError
from common.files import fingerprint
from common.media import SAMPLE_RATE, load_audio
from common.phonetics.config import PhoneticLabelsConfig
from common.rendered.espeak import Voice
from common.rendered.speech import LANGUAGES, sample_voice, speak
from common.speech.base import Audio

SUFFIXES = (".flac", ".g722", ".gsm", ".m4a", ".mp3", ".oga", ".ogg", ".opus", ".wav")
_JOINED_SECONDS = 20
_PAUSE_SECONDS = 0.2
_MINUTE = 60.0
_FIRST_SEED = 70_000


@dataclass(frozen=True)
class Recording:
    """One piece of speech; ``load`` gives (samples,) at 16 kHz."""

    key: str
    speaker: str
    samples: int
    load: Callable[[], Audio]


def played(entries: Sequence[PreparedClip], fps: float, speeds: Sequence[float]) -> Iterator[Recording]:
    """The speech of prepared faces, faster and higher as a tape is: other throats, too.

    Clips of one speaker are joined, with pauses, as files are by :func:`from_folders`.
    """
    pause = round(_PAUSE_SECONDS * SAMPLE_RATE)
    ordered = sorted(entries, key=lambda entry: entry.speaker)
    for speaker, members in groupby(ordered, key=lambda entry: entry.speaker):
        clips = list(members)
        for percent in (round(100 * speed) for speed in speeds):
            lengths = [
                -(-round(entry.frames * SAMPLE_RATE / fps) * 100 // percent) + pause for entry in clips
            ]
            for part in _runs(lengths):
                key = f"{clips[part.start].id}-{percent}"
                samples = sum(lengths[i] for i in part)
                yield Recording(key, speaker, samples, partial(_played, [clips[i] for i in part], percent))


def synthesised(config: PhoneticLabelsConfig) -> Iterator[Recording]:
    """The same number of pieces in every language; `sample_voice` alone would speak mostly English."""
    seconds = config.synthesised_seconds
    for number in range(round(config.synthesised_minutes * _MINUTE / seconds)):
        voice = sample_voice(_FIRST_SEED + number, [LANGUAGES[number % len(LANGUAGES)]])
        yield Recording(
            f"synthesised-{number:05d}",
            f"synthesised {voice.language}",
            round(seconds * SAMPLE_RATE),
            partial(_spoken, number, seconds, voice),
        )


def from_folders(folders: Sequence[str], section: str = "phonetics") -> Iterator[Recording]:
    """Files of speech, at any depth; those of one directory are one speaker's.

    Prompts and single words are joined, with pauses, to what is long enough to be cut into samples.
    ``section``: of the configuration whose ``folders`` these are, for messages.

    Raises:
        UserError: a folder holds no audio file.
    """
    for number, name in enumerate(folders):
        folder = Path(name)
        found = [path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()]
        files = sorted(found, key=lambda path: (path.parent, path.name))
        if not files:
            raise UserError(f"'{folder}' has no audio file ({', '.join(SUFFIXES)}): mend {section}.folders.")
        for directory, members in groupby(files, key=lambda path: path.parent):
            speaker = f"{number} {directory.relative_to(folder)}"
            for count, (paths, samples) in enumerate(_joined(list(members), section)):
                key = f"folder-{fingerprint([speaker])}-{count:05d}"
                yield Recording(key, speaker, samples, partial(_together, paths))


def _joined(files: list[Path], section: str) -> Iterator[tuple[list[Path], int]]:
    """Files that make up one recording each, and its samples."""
    paths, lengths = [], []
    for path in files:
        try:
            lengths.append(len(_paused(load_audio(path, SAMPLE_RATE))))
        except UserError as error:
            print(f"{section}: left out: {error}", file=sys.stderr)
            continue
        paths.append(path)
    for part in _runs(lengths):
        yield [paths[i] for i in part], sum(lengths[i] for i in part)


def _runs(lengths: Sequence[int]) -> Iterator[range]:
    """Neighbours that make up one recording each, by their samples; the last may be shorter."""
    first = samples = 0
    for i, length in enumerate(lengths):
        samples += length
        if samples >= _JOINED_SECONDS * SAMPLE_RATE:
            yield range(first, i + 1)
            first, samples = i + 1, 0
    if first < len(lengths):
        yield range(first, len(lengths))


def _together(paths: list[Path]) -> Audio:
    return np.concatenate([_paused(load_audio(path, SAMPLE_RATE)) for path in paths])


def _played(entries: Sequence[PreparedClip], percent: int) -> Audio:
    return np.concatenate([_paused(_at_speed(entry.audio(), percent)) for entry in entries])


def _at_speed(audio: Audio, percent: int) -> Audio:
    return audio if percent == 100 else np.asarray(resample_poly(audio, 100, percent), np.float32)


def _paused(audio: Audio) -> NDArray[np.float32]:
    return np.pad(np.asarray(audio, np.float32), (0, round(_PAUSE_SECONDS * SAMPLE_RATE)))


def _spoken(number: int, seconds: float, voice: Voice) -> NDArray[np.float32]:
    return speak(_FIRST_SEED + number, seconds, voice).audio
