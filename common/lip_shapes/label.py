"""`python -m common.lip_shapes.label`: prepared clips -> shards of sound and lips.

They are what `common.lip_shapes.train` learns from. Every sample holds log-mel features of a clip, with a
margin on both sides, and the landmarks of its frames. With `listen.taught` the features of
`phonetics.teacher` stand beside the bands.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path

from common.command import alone_in_work_folder, run_configured
from common.data.clips import training_clips
from common.data.prepared import PREPARED, PreparedClip, load_prepared
from common.data.schema import encode_sample
from common.data.writer import ShardWriter
from common.files import fingerprint, remove_partial
from common.lip_shapes.config import LipLabelingConfig
from common.phonetics.teacher import open_teacher, with_teacher
from common.progress import StepProgress
from common.speech.base import Features
from common.speech.config import SpeechConfig
from common.speech.mel import MelEncoder
from common.speech.prepared import PreparedSpeech
from common.speech.windows import clip_features

STEP = "listen"
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
    teacher = open_teacher(config.phonetics) if config.listen.taught else None
    if teacher:
        made_by["heard_with"] = teacher.fingerprint

    @lru_cache(maxsize=1)
    def features_of(entry: PreparedClip) -> Features:
        mel = speech.features(entry)
        return with_teacher(mel, teacher.encode(entry.audio())) if teacher else mel

    with ShardWriter(folder, "heard", config.samples_per_shard, made_by) as writer:
        todo = clips[writer.resume([clip.key for clip in clips]) :]
        progress = StepProgress(STEP, len(todo))
        for clip in todo:
            entry, start = clip.entry, clip.start
            meta = {"kind": "heard", "frames": length, "fps": config.geometry.fps, "speaker": entry.speaker}
            features = clip_features(features_of(entry), start, length, MARGIN)
            writer.add(
                clip.key,
                encode_sample(
                    {**meta, "entry": entry.id, "start": start},
                    arrays={"landmarks": landmarks(entry)[start : start + length]},
                    cache={"audio_features": features},
                    cache_fingerprint=fingerprint(made_by),
                ),
            )
            progress.step(length)
    progress.finish(work)
    print(f"lip_shapes.label: {len(clips)} clips -> {folder}", file=sys.stderr)


def _folder(config: LipLabelingConfig) -> Path:
    return Path(config.work) / ("taught" if config.listen.taught else "heard")


if __name__ == "__main__":
    sys.exit(main())
