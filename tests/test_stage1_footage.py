"""Stage 1 on a real clip, from the folder of videos to tars that plain webdataset code reads."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import webdataset
from safetensors.torch import load as load_tensors
from stage1_clips import STEPS

from common.data.schema import decode_video
from common.files import read_json

REPOSITORY = Path(__file__).resolve().parent.parent
CLIP = "grid_sbia1a.mp4"


def test_a_real_clip_becomes_pairs(footage: Path, tmp_path: Path) -> None:
    videos, work = tmp_path / "videos", tmp_path / "work"
    videos.mkdir()
    shutil.copy(footage / "train" / "clean" / CLIP, videos / CLIP)
    words = [
        *("--config", *(f"{REPOSITORY}/configs/{name}.yaml" for name in ("tiny", "stage1", "stage1_tiny"))),
        *(f"work={work}", f"prepare.videos={videos}"),
        f"train.init_from={REPOSITORY / 'models' / 'tiny-generator'}",
        # One process knows one precision: that of the other trainings of the suite.
        *("train.mixed_precision=float32", "train.max_steps=1", "train.warmup_steps=1"),
        *("train.global_batch_size=2", "train.micro_batch_size=2"),
        *("train.learning_rate=1e-5", "diffusion.num_steps=2"),
    ]
    for step in STEPS.values():
        assert step(words) == 0
    tars = sorted(str(path) for path in (work / "pairs").glob("*.tar"))
    samples = list(webdataset.WebDataset(tars, shardshuffle=False))
    assert len(samples) == read_json(work / "report.json")["pack"]["samples"] > 0
    for sample in samples:
        target, source = (decode_video(sample[name]) for name in ("target.mkv", "source.mkv"))
        assert target.shape == source.shape and target.shape[1:] == (64, 64, 3)
        assert load_tensors(sample["arrays.safetensors"])["lip_mask"].any()
        # The companion differs at the mouth and nowhere else.
        changed = np.abs(target.astype(int) - source).max(axis=(0, 3)) > 8
        assert changed[40:].any() and not changed[:16].any()
