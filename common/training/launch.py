"""What the training commands share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from common.autoencoder.codec import build_vae
from common.data.config import DataConfig
from common.data.dataset import ShardDataset
from common.models.transformer import build_transformer
from common.training.config import Company, FlowTrainingConfig, OptimisationConfig
from common.training.describe import describe
from common.training.strategy import Strategy
from common.training.trainer import Trainer, TrainResult
from common.training.validation import validation_callbacks


def derived_numbers(
    config: FlowTrainingConfig, reference_frames: int | None = None, company: Company | None = None
) -> str:
    """Table for --dry-run: tokens, parameters, batch arithmetic, steps, memory and time."""
    vae = config.vae
    builders: dict[str, Callable[[], Any]] = {"transformer": lambda: build_transformer(config.model)}
    if not vae.path:
        builders["autoencoder"] = lambda: build_vae(vae)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    return describe(config, builders, world_size=world, reference_frames=reference_frames, company=company)


def open_shards(config: DataConfig) -> ShardDataset:
    """The training data. Raises UserError where a set of shards is missing or unfinished."""
    return ShardDataset(list(config.shards))


def train(config: Any, strategy: Strategy, dataset: ShardDataset) -> TrainResult:
    """Run a strategy with the ``train`` and ``data`` sections of ``config``."""
    callbacks = validation_callbacks(config, strategy) if isinstance(config, FlowTrainingConfig) else []
    return Trainer(config.train, strategy, dataset, config.data, asdict(config), callbacks).run()


def run_training(name: str, result: str, build: Callable[[Any, ShardDataset], Strategy], config: Any) -> None:
    """Train what ``build(config, dataset)`` makes on ``data.shards``; ``result`` says what came out."""
    dataset = open_shards(config.data)
    done = train(config, build(config, dataset), dataset)
    if is_main_process():
        print(f"{name}: {done.step} steps, {result} in {done.package}", file=sys.stderr)


def training_plan(name: str, result: str, train: OptimisationConfig, data: DataConfig) -> str:
    """What :func:`run_training` would do, for models without noise levels."""
    shards = ", ".join(data.shards) or "(none)"
    lines = (f"shards {shards}, {train.max_steps} steps at most", f"{result} into {train.output}/package")
    return "\n".join(f"{name}: {line}" for line in lines)


def is_main_process() -> bool:
    return int(os.environ.get("RANK", "0")) == 0
