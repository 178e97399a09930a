"""`python -m common.lip_shapes.label`: prepared faces -> shards of sound and lips, for `train_speech`.

Every sample holds log-mel features of a clip, with a margin on both sides, and the landmarks of its frames.
With `listen.taught` the features of `phonetics.teacher` stand beside the bands.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path

from common.config import SpeechConfig
from common.data.prepared import Entry, load_entries
from common.data.schema import encode_sample
from common.data.writer import ShardWriter
from common.files import fingerprint, remove_partial
from common.phonetics.teacher import open_teacher, with_teacher
from common.speech.base import Features
from common.speech.mel import MelEncoder
from common.speech.windows import clip_features
from stage1_generator.config import Stage1Config, work_paths
from stage1_generator.encode import training_clips
from stage1_generator.generator.frozen import EntrySpeech
from stage1_generator.work.command import Progress, run_command

STEP = "listen"
MARGIN = 12
"""Video frames that a lip reader hears on both sides of a clip."""
_MEL = SpeechConfig(encoder=MelEncoder.name, channels=MelEncoder.channels)


def main(argv: list[str] | None = None) -> int:
    return run_command(STEP, __doc__ or "", run, dry_run, argv)


def dry_run(config: Stage1Config) -> None:
    entries = load_entries(work_paths(config).prepared)
    print(f"listen: {len(entries)} entries, into {_folder(config)}")


def run(config: Stage1Config) -> None:
    paths, folder, length = work_paths(config), _folder(config), config.geometry.clip_frames
    remove_partial(folder)
    entries = load_entries(paths.prepared)
    clips = training_clips(entries, config)
    # Clips come in entry order: each track is read once.
    landmarks = lru_cache(maxsize=1)(lambda entry: entry.track().landmarks)
    speech = EntrySpeech(config, _MEL)
    made_by = {"step": STEP, "speech": speech.fingerprint, "config": fingerprint([1, length, MARGIN])}
    teacher = open_teacher(config.phonetics) if config.listen.taught else None
    if teacher:
        made_by["heard_with"] = teacher.fingerprint

    @lru_cache(maxsize=1)
    def hear(entry: Entry) -> Features:
        mel = speech.features(entry)
        return with_teacher(mel, teacher.encode(entry.audio())) if teacher else mel

    with ShardWriter(folder, "heard", config.encode.samples_per_shard, made_by) as writer:
        todo = clips[writer.resume([clip.key for clip in clips]) :]
        progress = Progress(STEP, len(todo))
        for clip in todo:
            entry, start = clip.entry, clip.start
            meta = {"kind": "heard", "frames": length, "fps": config.geometry.fps, "speaker": entry.speaker}
            features = clip_features(hear(entry), start, length, MARGIN)
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
    progress.finish(paths.root)
    print(f"listen: {len(clips)} clips -> {folder}", file=sys.stderr)


def _folder(config: Stage1Config) -> Path:
    paths = work_paths(config)
    return paths.taught if config.listen.taught else paths.heard


if __name__ == "__main__":
    sys.exit(main())
