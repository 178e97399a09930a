"""Open mouths of drawn talkers, and small painters that learn from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from own_mouth_clips import talker
from safetensors.numpy import save_file

from common.media import save_wav, write_video
from common.mouth_painter import label
from stage1_generator import prepare

SMALL = (8, 8, 8)


@dataclass(frozen=True)
class Labelled:
    """Shards of open mouths, in a work folder of stage 1."""

    work: Path
    shards: Path


def label_talkers(folder: Path, count: int = 20) -> Labelled:
    """Two drawn talkers of ``count`` frames, in stretches of nine."""
    videos = folder / "videos"
    videos.mkdir()
    for name, clip in (("one", talker(count=count)), ("two", talker(count=count, seed=5))):
        path, wav = videos / f"{name}.mp4", folder / "sound.wav"
        save_wav(wav, np.zeros(len(clip) * 640, np.float32), 16000)
        write_video(path, clip.frames, rate=25, audio_from=wav)
        low, high = clip.landmarks[:, :, :2].min(axis=1), clip.landmarks[:, :, :2].max(axis=1)
        boxes = np.concatenate([low, high], axis=1)
        save_file(
            {"boxes": boxes.astype(np.float32), "landmarks": clip.landmarks},
            path.with_name(f"{name}.track.safetensors"),
        )
    work = folder / "work"
    stage1 = str(Path(__file__).resolve().parent.parent / "configs" / "stage1.yaml")
    words = ["--config", stage1, f"work={work}", f"prepare.videos={videos}", "geometry.crop_size=96"]
    assert (
        prepare.main([*words, "geometry.clip_frames=9", "prepare.min_seconds=0.4", "prepare.workers=1"]) == 0
    )
    assert label.main([f"work={work}", "geometry.clip_frames=9", "labels.every=1"]) == 0
    return Labelled(work, work / "open_mouths")


def short_training(labelled: Labelled, output: Path, *more: str) -> list[str]:
    """Words of a training of small networks, six steps of four."""
    return [
        f"data.shards=[{labelled.shards}]",
        f"train.output={output}",
        "painter.widths=[8,8,8]",
        "painter.critic_widths=[8,8,8]",
        "painter.alone=2",
        "train.max_steps=6",
        "train.learning_rate=1e-3",
        "train.global_batch_size=4",
        "train.micro_batch_size=2",
        "train.num_workers=0",
        "train.warmup_steps=1",
        "train.log_every=1",
        "train.save_every=3",
        "train.ema_decay=0.5",
        "train.mixed_precision=float32",
        *more,
    ]
