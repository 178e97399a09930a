"""What the training commands of both stages share."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from common.autoencoder.codec import build_vae
from common.config import DataConfig, TrainConfig, describe
from common.data.dataset import ShardDataset
from common.diffusion.flow import FlowMatching
from common.models.transformer import build_transformer
from common.training.strategy import Strategy
from common.training.timesteps import show_timesteps
from common.training.trainer import Trainer, TrainResult
from common.training.validation import validation_callbacks


def derived_numbers(config: Any, reference_frames: int | None = None) -> str:
    """Table for --dry-run: tokens, parameters, batch arithmetic, steps."""
    vae = config.vae
    builders: dict[str, Callable[[], Any]] = {"transformer": lambda: build_transformer(config.model)}
    if not vae.path:
        builders["autoencoder"] = lambda: build_vae(vae)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    return describe(config, builders, world_size=world, reference_frames=reference_frames)


def timestep_table(config: Any) -> str:
    """Text for --show-timesteps."""
    diffusion, phase = config.diffusion, getattr(config, "phase", None)
    flow = FlowMatching(diffusion.shift, diffusion.timestep_a)
    if phase is None:
        return show_timesteps("generator", flow, diffusion.num_steps)
    return show_timesteps(phase.name, flow, diffusion.num_steps, phase.active_range)


def open_shards(config: DataConfig) -> ShardDataset:
    """The training data. Raises UserError where a set of shards is missing or unfinished."""
    return ShardDataset(list(config.shards))


def train(config: Any, strategy: Strategy, dataset: ShardDataset) -> TrainResult:
    """Run a strategy with the ``train`` and ``data`` sections of ``config``."""
    settings: TrainConfig = config.train
    callbacks = validation_callbacks(config, strategy)
    return Trainer(settings, strategy, dataset, config.data, asdict(config), callbacks).run()


def run_phase(
    config: Any, build: Callable[[Any, ShardDataset], Strategy], dry_run: bool, numbers: Sequence[str] = ()
) -> None:
    """A training command of stage 2: what the configuration amounts to, then what ``build`` makes of it.

    ``numbers``: further tables for --dry-run.
    """
    if is_main_process():
        print(derived_numbers(config), *numbers, sep="\n", flush=True)
    if dry_run:
        return
    dataset = open_shards(config.data)
    result = train(config, build(config, dataset), dataset)
    if is_main_process():
        print(f"{result.step} steps, model package in {result.package}")


def is_main_process() -> bool:
    return int(os.environ.get("RANK", "0")) == 0
