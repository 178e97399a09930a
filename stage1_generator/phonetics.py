"""`python -m stage1_generator.phonetics`: speech -> shards of what a large speech encoder hears in it.

The speech is that of the prepared faces, played slower and faster as well, and synthesised speech of many
languages. Every sample holds log-mel features, with a margin on both sides, and the teacher's features
without: what `train_phonetics` learns from.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from common.data.schema import encode_sample
from common.data.writer import ShardWriter
from common.errors import UserError
from common.files import fingerprint
from common.speech.base import Features
from common.speech.mel import MelEncoder
from common.speech.windows import clip_features
from stage1_generator.command import Progress, run_command, sweep
from stage1_generator.config import Stage1Config, work_paths
from stage1_generator.entries import SAMPLE_RATE, Entry, load_entries
from stage1_generator.rendered.espeak import Voice
from stage1_generator.rendered.speech import LANGUAGES, sample_voice, speak
from stage1_generator.speech_teacher import OnnxWhisper

STEP = "phonetics"
TEACHER = "teacher_features"
FRAMES = 29
"""Of a sample, at the video's rate."""
MARGIN = 17
"""Frames on both sides: as far as a phonetic encoder hears."""
_MINUTE = 60.0
_FIRST_SEED = 70_000


@dataclass(frozen=True)
class _Recording:
    """One piece of speech that is cut into samples; ``load`` gives (samples,) at 16 kHz."""

    key: str
    speaker: str
    samples: int
    load: Callable[[], NDArray[np.float32]]

    def starts(self) -> range:
        """First frames of its samples."""
        frames = int(self.samples / SAMPLE_RATE * 25)
        return range(0, frames - FRAMES + 1, FRAMES)


def main(argv: list[str] | None = None) -> int:
    return run_command(STEP, __doc__ or "", run, dry_run, argv)


def dry_run(config: Stage1Config) -> None:
    recordings, folder = list(_recordings(config)), work_paths(config).phonetics
    print(f"phonetics: {len(recordings)} recordings, teacher {config.phonetics.teacher or '(none)'}")
    print(f"phonetics: {sum(len(one.starts()) for one in recordings)} samples into {folder}")


def run(config: Stage1Config) -> None:
    settings, folder = config.phonetics, work_paths(config).phonetics
    if not settings.teacher:
        raise UserError("phonetics.teacher is empty: name an ONNX file of a Whisper encoder.")
    teacher = OnnxWhisper(settings.teacher, settings.output, settings.unit_variance)
    sweep(folder)
    made_by = {
        "step": STEP,
        "speech": MelEncoder().fingerprint,
        "teacher": teacher.fingerprint,
        "config": fingerprint([1, FRAMES, MARGIN]),
    }
    pieces = [(one, start) for one in _recordings(config) for start in one.starts()]
    hear = _Hearing(teacher)
    with ShardWriter(folder, STEP, config.encode.samples_per_shard, made_by) as writer:
        todo = pieces[writer.resume([_key(one, start) for one, start in pieces]) :]
        progress = Progress(STEP, len(todo))
        for recording, start in todo:
            mel, heard = hear(recording)
            cache = {
                "audio_features": clip_features(mel, start, FRAMES, MARGIN),
                TEACHER: clip_features(heard, start, FRAMES, 0).astype(np.float16),
            }
            meta = {"kind": STEP, "frames": FRAMES, "fps": 25.0, "speaker": recording.speaker, "start": start}
            encoded = encode_sample(meta, cache=cache, cache_fingerprint=fingerprint(made_by))
            writer.add(_key(recording, start), encoded)
            progress.step(FRAMES)
    progress.finish(work_paths(config).root)
    print(f"phonetics: {len(pieces)} samples -> {folder}", file=sys.stderr)


class _Hearing:
    """Both networks' features of the recording asked for last: its samples follow each other."""

    def __init__(self, teacher: OnnxWhisper) -> None:
        self._teacher, self._mel = teacher, MelEncoder()
        self._key, self._heard = "", (np.zeros(0, np.float32), np.zeros(0, np.float32))

    def __call__(self, recording: _Recording) -> tuple[Features, Features]:
        if recording.key != self._key:
            audio = recording.load()
            self._key = recording.key
            self._heard = self._mel.encode(audio), self._teacher.encode(audio)
        return self._heard


def _key(recording: _Recording, start: int) -> str:
    return f"{recording.key}-{start:06d}"


def _recordings(config: Stage1Config) -> Iterator[_Recording]:
    settings = config.phonetics
    for entry in load_entries(work_paths(config).prepared):
        whole = round(entry.frames * SAMPLE_RATE / config.geometry.fps)
        for speed in settings.speeds:
            percent = round(100 * speed)
            yield _Recording(
                f"{entry.id}-{percent}",
                entry.speaker,
                -(-whole * 100 // percent),
                partial(_played, entry, percent),
            )
    seconds = settings.synthesised_seconds
    for number in range(round(settings.synthesised_minutes * _MINUTE / seconds)):
        # Every language alike often; sample_voice alone would speak mostly English.
        voice = sample_voice(_FIRST_SEED + number, [LANGUAGES[number % len(LANGUAGES)]])
        yield _Recording(
            f"synthesised-{number:05d}",
            f"synthesised {voice.language}",
            round(seconds * SAMPLE_RATE),
            partial(_spoken, number, seconds, voice),
        )


def _played(entry: Entry, percent: int) -> NDArray[np.float32]:
    """Faster and higher, as a tape is: another throat, too."""
    audio = entry.audio()
    return audio if percent == 100 else resample_poly(audio, 100, percent).astype(np.float32)


def _spoken(number: int, seconds: float, voice: Voice) -> NDArray[np.float32]:
    return speak(_FIRST_SEED + number, seconds, voice).audio


if __name__ == "__main__":
    sys.exit(main())
