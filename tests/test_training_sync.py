"""The sync expert: learns which sound belongs to which lips, finds a lag, continues like every training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from training_toys import metrics, saved

from common.data.schema import encode_sample
from common.data.writer import ShardWriter
from common.sync_expert import measure as measure_sync
from common.sync_expert.train import main

FRAMES, MARGIN, SIDE, BANDS = 21, 5, 16, 8
WORDS = [
    *("sync.frames=8", "sync.min_shift=3", "sync.widths=[16,16]", "sync.embed_dim=16"),
    "sync.jitter=0",  # here brightness is what the lips say
    *("train.global_batch_size=8", "train.micro_batch_size=8", "train.num_workers=0", "train.log_every=1"),
    *("train.learning_rate=1e-3", "train.warmup_steps=1", "train.mixed_precision=float32"),
]


def write_talkers(folder: Path, count: int, seed: int, lag: int = 0) -> Path:
    """Clips whose lower half is as bright as the sound is loud, ``lag`` frames later."""
    rng = np.random.default_rng(seed)
    with ShardWriter(folder, "talk", 16, {"step": "test", "speech": "toy"}) as writer:
        for i in range(count):
            loud = np.repeat(rng.uniform(size=FRAMES + 2 * MARGIN + 2 * abs(lag)), 2).astype(np.float32)
            features = np.repeat(loud[:, None], BANDS, axis=1)[2 * abs(lag) :][: 2 * (FRAMES + 2 * MARGIN)]
            shown = loud[2 * (abs(lag) - lag + MARGIN) :: 2][:FRAMES]
            frames = np.full((FRAMES, SIDE, SIDE, 3), rng.integers(0, 255), np.uint8)
            frames[:, SIDE // 2 :] = (255 * shown)[:, None, None, None]
            meta = {"frames": FRAMES, "fps": 25.0}
            writer.add(f"t{i}", encode_sample(meta, target=frames, cache={"audio_features": features}))
    return folder


def losses(run: Path) -> list[float]:
    return [row["loss"] for row in metrics(run)]


def test_it_learns_and_measures_itself_on_unseen_clips(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards, unseen = write_talkers(tmp_path / "a", 48, 0), write_talkers(tmp_path / "b", 16, 1)
    words = [
        *WORDS,
        f"data.shards=[{shards}]",
        f"sync.held_out=[{unseen}]",
        f"train.output={tmp_path / 'run'}",
    ]
    assert main([*words, "train.max_steps=1"]) == 0
    assert "sits at chance" in capsys.readouterr().err
    assert main([*words, "train.max_steps=150"]) == 0
    out = capsys.readouterr().out
    assert float(out.split("held-out accuracy ")[1].split(",")[0]) > 0.85
    # A clip whose picture comes two frames late: its lips fit the sound of two frames earlier.
    late = write_talkers(tmp_path / "late", 4, 2, lag=2)
    table = tmp_path / "offsets.json"
    words = ["--expert", str(tmp_path / "run" / "package"), "--shards", str(late), "--output", str(table)]
    assert measure_sync.main([*words, "--reach", "4"]) == 0
    rows = json.loads(table.read_text())["videos"]
    assert len(rows) == 4 and all(row["offset_frames"] == -2 for row in rows.values())
    assert all(row["confidence"] > 0.1 for row in rows.values())


def test_resume_equals_the_uninterrupted_run(tmp_path: Path) -> None:
    shards = write_talkers(tmp_path / "a", 16, 0)
    words = [*WORDS, f"data.shards=[{shards}]", "train.lr_schedule=constant"]
    assert main([*words, "train.max_steps=6", f"train.output={tmp_path / 'whole'}"]) == 0
    for steps in (3, 6):
        assert main([*words, f"train.max_steps={steps}", f"train.output={tmp_path / 'cut'}"]) == 0
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    one, two = (saved(tmp_path / name, 6) for name in ("cut", "whole"))
    assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


def test_clips_too_short_for_the_window_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards = write_talkers(tmp_path / "a", 2, 0)
    assert main([f"data.shards=[{shards}]", f"train.output={tmp_path / 'run'}", "sync.frames=19"]) == 2
    assert "sync.frames" in capsys.readouterr().err
