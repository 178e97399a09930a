"""tools/bench/loader_bench.py at toy size: what it measures, and what it refuses to."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from training_toys import SIDE, fingerprints, toy_vae

from common.data.dataset import ShardDataset
from common.data.schema import encode_sample
from common.data.writer import ShardWriter

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools" / "bench"))
import loader_bench


def test_the_bench_measures_loader_and_trainer(tmp_path, moving_frames, tone, capsys):
    toy_vae(tmp_path)
    rng = np.random.default_rng(0)
    with ShardWriter(tmp_path / "pairs", "p", 4, fingerprints(tmp_path)) as writer:
        for i in range(4):
            target = rng.normal(size=(4, 3, SIDE, SIDE)).astype(np.float32)
            cache = {
                "target_latents": target,
                "source_latents": target + 0.1,
                "audio_features": rng.normal(size=(30, 80)).astype(np.float32),
            }
            masks = {name: np.ones((3, SIDE, SIDE), np.uint8) for name in ("lip_mask", "face_mask")}
            video = moving_frames(9, 32, 32, seed=i)
            meta = {"frames": 9, "fps": 25.0}
            members = encode_sample(
                meta, target=video, source=video, audio=tone(0.36), arrays=masks, cache=cache
            )
            writer.add(f"k{i}", members)
    words = [f"vae.path={tmp_path / 'vae'}", f"data.shards=[{tmp_path / 'pairs'}]"]
    command = ["--config", str(tmp_path / "toy.yaml"), *words, "--batches", "3", "--uncached", "2"]
    assert loader_bench.main([*command, "--steps", "3"]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["processes"] == 1 and report["baseline"].startswith("trainer, 3")
    rates = {name: report[name] for name in ("trainer", "cached", "uncached")}
    assert min(rates.values()) > 0
    assert report["loader_over_trainer"] == pytest.approx(rates["cached"] / rates["trainer"])
    assert report["cached_over_uncached"] == pytest.approx(rates["cached"] / rates["uncached"])
    assert loader_bench.main([*command, "--steps", "2"]) == 2
    bare = loader_bench.without_cache(ShardDataset(tmp_path / "pairs"), tmp_path / "bare", 2)
    assert len(bare) == 2 and not bare.sample(1).has("cache.safetensors") and bare.shape(1) == (9, 4, 4)
    words[1] = f"data.shards=[{tmp_path / 'bare'}]"
    assert loader_bench.main(["--config", str(tmp_path / "toy.yaml"), *words]) == 2
    assert "must have cached latents" in capsys.readouterr().err
