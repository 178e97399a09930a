"""`python -m common.phonetics.label`: speech -> shards of what a large speech encoder makes of it.

The speech is that of the prepared faces, played slower and faster as well, synthesised speech of many
languages, and what lies in `phonetics.folders`. Every sample holds log-mel features, with a margin on both
sides, and the teacher's features without: what `common.phonetics.train` learns from. With
`phonetics.lip_predictors` a sample also holds the lip shapes that those predictors expect, from which
`common.lip_shapes.train` learns.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

from common.command import alone_in_work_folder, run_configured
from common.data.labelled import LabelledSample, write_labelled
from common.data.prepared import PREPARED, load_prepared
from common.files import fingerprint, remove_partial
from common.phonetics.config import PhoneticLabelingConfig
from common.phonetics.recordings import Recording, from_folders, played, synthesised
from common.phonetics.teacher import LabellingPredictors, open_teacher
from common.speech.base import HOP, Features
from common.speech.mel import MelEncoder
from common.speech.windows import FEATURES_PER_FRAME, clip_features

STEP = "phonetics"
TEACHER = "teacher_features"
LIPS = "lips"
MARGIN = 17
"""Frames on both sides of a sample: as far as convolutions see."""


def main(argv: list[str] | None = None) -> int:
    return run_configured(
        PhoneticLabelingConfig,
        alone_in_work_folder(run, dry_run),
        prog="python -m common.phonetics.label",
        description=__doc__ or "",
        argv=argv,
    )


def dry_run(config: PhoneticLabelingConfig) -> None:
    recordings, folder = list(_recordings(config)), _folder(config)
    print(f"phonetics: {len(recordings)} recordings, teacher {config.phonetics.teacher or '(none)'}")
    samples = sum(len(_starts(one, config.phonetics.frames)) for one in recordings)
    print(f"phonetics: {samples} samples into {folder}")


def run(config: PhoneticLabelingConfig) -> None:
    settings, folder = config.phonetics, _folder(config)
    frames = settings.frames
    teacher = open_teacher(settings)
    predictors = LabellingPredictors(paths, teacher.channels) if (paths := settings.lip_predictors) else None
    mel_encoder = MelEncoder()
    remove_partial(folder)
    made_by = {
        "step": STEP,
        "speech": mel_encoder.fingerprint,
        "teacher": teacher.fingerprint,
        "config": fingerprint([2, frames, MARGIN, settings.synthesised_seconds]),
    }
    if predictors:
        made_by[LIPS] = predictors.fingerprint
    pieces = [(one, start) for one in _recordings(config) for start in _starts(one, frames)]

    @lru_cache(maxsize=1)  # a recording's samples follow each other
    def labelled(recording: Recording) -> tuple[Features, dict[str, Features]]:
        audio = recording.load()
        mel, labels = mel_encoder.encode(audio), {TEACHER: teacher.encode(audio)}
        if predictors:
            labels[LIPS] = predictors.lips(mel, labels[TEACHER])
        return mel, labels

    def label(piece: tuple[Recording, int]) -> LabelledSample:
        recording, start = piece
        mel, labels = labelled(recording)
        features = {"audio_features": clip_features(mel, start, frames, MARGIN)}
        for name, values in labels.items():
            features[name] = clip_features(values, start, frames, 0).astype(np.float16)
        meta = {"kind": STEP, "frames": frames, "fps": config.geometry.fps, "speaker": recording.speaker}
        return LabelledSample({**meta, "start": start}, features)

    work, per_shard = Path(config.work), config.samples_per_shard
    write_labelled(work, folder, per_shard, made_by, pieces, lambda piece: _key(*piece), label)
    print(f"phonetics: {len(pieces)} samples -> {folder}", file=sys.stderr)


def _folder(config: PhoneticLabelingConfig) -> Path:
    return Path(config.work) / STEP


def _key(recording: Recording, start: int) -> str:
    return f"{recording.key}-{start:06d}"


def _recordings(config: PhoneticLabelingConfig) -> Iterator[Recording]:
    settings = config.phonetics
    if settings.speeds:
        yield from played(load_prepared(Path(config.work) / PREPARED), config.geometry.fps, settings.speeds)
    yield from synthesised(settings)
    yield from from_folders(settings.folders)


def _starts(recording: Recording, frames: int) -> range:
    """First frames of its samples."""
    count = recording.samples // (HOP * FEATURES_PER_FRAME)
    return range(0, count - frames + 1, frames)


if __name__ == "__main__":
    sys.exit(main())
