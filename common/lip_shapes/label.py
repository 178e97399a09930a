"""`python -m common.lip_shapes.label`: prepared clips -> shards of sound and lips.

They are what `common.lip_shapes.train` learns from. Every sample holds log-mel features of a clip, with a
margin on both sides, and the landmarks of its frames. With `lip_shapes.teacher_features` the features of
`phonetics.teacher` are appended to the mel bands.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from operator import attrgetter
from pathlib import Path

from common.command import alone_in_work_folder, run_configured
from common.data.clips import TrainingClip, training_clips
from common.data.labelled import LabelledSample, write_labelled
from common.data.prepared import PREPARED, PreparedClip, load_prepared
from common.files import fingerprint, remove_partial
from common.lip_shapes.config import LipLabelingConfig
from common.phonetics.teacher import open_teacher, with_teacher
from common.speech.base import Features
from common.speech.config import SpeechConfig
from common.speech.labelled import TEACHER_FEATURES
from common.speech.mel import MelEncoder
from common.speech.prepared import PreparedSpeech
from common.speech.windows import clip_features

STEP = "lip_shapes"
"""What the index of these shards calls this command."""
MARGIN = 12
"""Video frames that a lip-shape predictor sees on both sides of a clip."""
_MEL = SpeechConfig(encoder=MelEncoder.name, channels=MelEncoder.channels)


def main(argv: list[str] | None = None) -> int:
    return run_configured(
        LipLabelingConfig,
        alone_in_work_folder(run, dry_run),
        prog="python -m common.lip_shapes.label",
        description=__doc__ or "",
        argv=argv,
    )


def dry_run(config: LipLabelingConfig) -> None:
    entries = load_prepared(Path(config.work) / PREPARED)
    print(f"lip_shapes.label: {len(entries)} prepared clips, into {_folder(config)}")


def run(config: LipLabelingConfig) -> None:
    work, folder, length = Path(config.work), _folder(config), config.geometry.clip_frames
    remove_partial(folder)
    clips = training_clips(load_prepared(work / PREPARED), length, config.stride)
    # Clips come in the order of the prepared ones: each track is read once.
    landmarks = lru_cache(maxsize=1)(lambda entry: entry.track().landmarks)
    speech = PreparedSpeech(work, _MEL)
    made_by = {"step": STEP, "speech": speech.fingerprint, "config": fingerprint([1, length, MARGIN])}
    teacher = open_teacher(config.phonetics) if config.lip_shapes.teacher_features else None
    if teacher:
        made_by[TEACHER_FEATURES] = teacher.fingerprint

    @lru_cache(maxsize=1)
    def features_of(entry: PreparedClip) -> Features:
        mel = speech.features(entry)
        return with_teacher(mel, teacher.encode(entry.audio())) if teacher else mel

    def label(clip: TrainingClip) -> LabelledSample:
        entry, start = clip.entry, clip.start
        meta = {"kind": STEP, "frames": length, "fps": config.geometry.fps, "speaker": entry.speaker}
        return LabelledSample(
            {**meta, "entry": entry.id, "start": start},
            {"audio_features": clip_features(features_of(entry), start, length, MARGIN)},
            {"landmarks": landmarks(entry)[start : start + length]},
        )

    write_labelled(work, folder, config.samples_per_shard, made_by, clips, attrgetter("key"), label)
    print(f"lip_shapes.label: {len(clips)} clips -> {folder}", file=sys.stderr)


def _folder(config: LipLabelingConfig) -> Path:
    return Path(config.work) / ("lip_clips_teacher" if config.lip_shapes.teacher_features else "lip_clips")


if __name__ == "__main__":
    sys.exit(main())
