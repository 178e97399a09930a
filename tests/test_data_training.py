"""Training on streamed, bucketed and augmented data: the same losses whoever reads, and after a cut."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from processes import several_processes
from training_toys import metrics, stage2_config, toy_vae, write_raw_pairs, write_sized_pairs

from common.errors import UserError
from common.training.launch import open_shards, train
from stage2_dubber.training.strategy import EditorStrategy

# Two lengths and two sizes; clips of 13 frames are cut to 9.
SHAPES = [(9, 4)] * 3 + [(5, 4)] * 3 + [(9, 2)] * 2 + [(13, 2)] * 2


@pytest.fixture
def work(tmp_path: Path) -> Path:
    toy_vae(tmp_path)
    return tmp_path


def _run(work: Path, output: str, *overrides: str) -> list[float]:
    config = stage2_config(work, f"train.output={work / output}", *overrides)
    dataset = open_shards(config.data)
    train(config, EditorStrategy(config, dataset), dataset)
    return [row["loss"] for row in metrics(work / output)]


@pytest.mark.parametrize("order", ["shuffle", "stream"])
def test_buckets_train_and_resume(work: Path, order: str) -> None:
    write_sized_pairs(work / "pairs", SHAPES)
    words = ["data.buckets=[5,9]", f"data.order={order}", "train.global_batch_size=2"]
    words += ["train.micro_batch_size=1"]
    whole = _run(work, "whole", *words, "train.max_steps=6")
    assert np.isfinite(whole).all()
    for steps in (3, 6):
        cut = _run(work, "cut", *words, f"train.max_steps={steps}", "train.num_workers=0")
    assert cut == whole


def test_two_processes_stream_the_buckets_of_one(work: Path) -> None:
    write_sized_pairs(work / "pairs", SHAPES)
    words = ["data.buckets=[5,9]", "data.order=stream", "train.max_steps=3"]
    words += ["train.global_batch_size=2", "train.micro_batch_size=1"]
    one = _run(work, "one", *words)
    several_processes(
        2,
        *("stage2_dubber/train.py", "--config", str(work / "toy.yaml"), f"vae.path={work / 'vae'}"),
        *(f"data.shards=[{work / 'pairs'}]", *words, f"train.output={work / 'two'}"),
    )
    np.testing.assert_allclose([row["loss"] for row in metrics(work / "two")], one, rtol=1e-4)


def test_sizes_without_buckets_are_refused(work: Path) -> None:
    write_sized_pairs(work / "pairs", [(9, 4), (9, 2)])
    with pytest.raises(UserError, match=r"different shapes.*data\.buckets"):
        _run(work, "run", "train.max_steps=2", "train.global_batch_size=2")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("data.buckets=[5,13]", "more than geometry.clip_frames"),
        ("data.buckets=[1]", "geometry.motion_latents"),
        ("data.buckets=[6]", "multiple of 4"),
        ("data.order=random", "data.order"),
    ],
)
def test_buckets_that_do_not_fit_are_refused(work: Path, word: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        stage2_config(work, word)


def test_augmentation_reaches_uncached_pairs_and_resumes(
    work: Path, moving_frames: Callable[..., np.ndarray], tone: Callable[..., np.ndarray]
) -> None:
    write_raw_pairs(work / "pairs", 4, 9, moving_frames, tone)
    changes = ["augment.flip=0.5", "augment.relight.probability=1", "augment.source_noise.probability=1"]
    plain = _run(work, "plain", "train.max_steps=2")
    whole = _run(work, "whole", "train.max_steps=2", *changes)
    assert whole != plain
    for steps, micro in ((1, 2), (2, 1)):
        words = [f"train.max_steps={steps}", f"train.micro_batch_size={micro}"]
        cut = _run(work, "cut", *words, *changes)
    np.testing.assert_allclose(cut, whole, rtol=1e-4)


def test_augmentation_of_cached_pairs_is_refused(work: Path) -> None:
    write_sized_pairs(work / "pairs", [(9, 4)])
    with pytest.raises(UserError, match=r"pairs\.augmented_copies"):
        _run(work, "run", "augment.flip=0.5")
