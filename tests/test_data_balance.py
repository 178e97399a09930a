"""Speakers with many clips are drawn more rarely than they have clips."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from common.data.config import FlowDataConfig
from common.data.dataset import ShardDataset
from common.data.order import build_order
from common.data.schema import encode_sample
from common.data.writer import ShardWriter
from common.errors import UserError


def write(folder: Path, **clips: int) -> Path:
    """Shards in which each speaker has so many clips; "nobody" is no name."""
    with ShardWriter(folder, "s", 4, {}) as writer:
        for speaker, count in clips.items():
            for i in range(count):
                meta = {"frames": 9, "fps": 25.0} | ({} if speaker == "nobody" else {"speaker": speaker})
                writer.add(f"{speaker}{i}", encode_sample(meta, cache={"x": np.zeros(1, np.float32)}))
    return folder


def drawn(folders: list[Path], **config: object) -> Counter[str]:
    """How often each speaker comes in 400 batches of 16."""
    data = FlowDataConfig(shards=[str(folder) for folder in folders], **config)  # type: ignore[arg-type]
    dataset = ShardDataset([str(folder) for folder in folders])
    order = build_order(dataset, data, 16, seed=0)
    keys = [dataset.keys[n] for step in range(400) for n in order.global_batch(step)]
    return Counter(key.rstrip("0123456789") for key in keys)


def test_shares_go_with_the_power_of_the_clips(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", studio=36, guest=4)
    for exponent, share in ((1.0, 0.9), (0.5, 0.75), (0.0, 0.5)):
        counts = drawn([folder], speaker_exponent=exponent)
        assert counts["studio"] / counts.total() == pytest.approx(share, abs=0.01)


def test_every_clip_of_a_speaker_comes_equally_often(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", studio=36, guest=4)
    data = FlowDataConfig(shards=[str(folder)], speaker_exponent=0.0)
    order = build_order(ShardDataset([str(folder)]), data, 16, seed=0)
    counts = Counter(n for step in range(400) for n in order.global_batch(step))
    for speaker in (range(36), range(36, 40)):
        each = [counts[n] for n in speaker]
        assert max(each) - min(each) <= 2


def test_the_shares_of_the_folders_stay(tmp_path: Path) -> None:
    folders = [write(tmp_path / "a", ann=30, bob=2), write(tmp_path / "b", cid=8)]
    counts = drawn(folders, speaker_exponent=0.5, weights=[1.0, 3.0])
    assert counts["cid"] / counts.total() == pytest.approx(0.75, abs=0.01)
    assert counts["ann"] / counts["bob"] == pytest.approx((30 / 2) ** 0.5, rel=0.05)


def test_nameless_clips_and_other_orders_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", nobody=3)
    with pytest.raises(UserError, match="names no speaker"):
        drawn([folder], speaker_exponent=0.5)
    for other in ({"order": "stream"}, {"buckets": [9]}):
        with pytest.raises(UserError, match="speaker_exponent"):
            FlowDataConfig(speaker_exponent=0.5, **other)  # type: ignore[arg-type]
