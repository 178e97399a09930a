"""The training loop: any strategy, any number of processes, resumable at every checkpoint."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor, nn
from torch.utils.data import DataLoader

from common.config import TrainConfig
from common.data.dataset import ShardDataset
from common.errors import UserError
from common.files import require_writable_dir
from common.training.checkpoint import (
    Checkpoint,
    latest_checkpoint,
    load_optimizer,
    load_parameters,
    optimizer_tensors,
    remove_partial,
    save_checkpoint,
)
from common.training.draws import DrawSampler
from common.training.ema import ParameterAverage
from common.training.loading import DrawnSamples
from common.training.meter import LossMeter, RunLog
from common.training.muon import Muon
from common.training.precision import is_emulated, resolve_precision
from common.training.schedule import learning_rate
from common.training.strategy import Strategy
from common.training.throughput import SpeedMeter
from common.training.watch import Watcher, Watching

PACKAGE = "package"


@dataclass(frozen=True)
class TrainResult:
    """``step``: optimiser steps in all. ``loss``: mean since the last log. ``package``: model package."""

    step: int
    loss: float | None
    package: Path


class Trainer:
    """Trains one model to ``config.max_steps`` or to the time limit; run it again to continue.

    The output folder holds ``step-XXXXXXXX/`` checkpoints, ``latest``, ``tensorboard/``, ``metrics.jsonl``
    and, at the end, ``package/``, the model package for inference with the averaged weights.

    Every random number is a pure function of (seed, step, position in the global batch): the same losses for
    any number of processes (up to the order of additions) and an exact continuation after a cut. With a
    time limit the schedule follows the clock and the last steps depend on the machine's speed.
    """

    def __init__(
        self,
        config: TrainConfig,
        strategy: Strategy,
        dataset: ShardDataset,
        weights: Sequence[float] = (),
        description: Mapping[str, Any] | None = None,
        watchers: Sequence[Watcher] = (),
    ) -> None:
        """
        Args:
            weights: how often each part of ``dataset`` is drawn (``data.weights``).
            description: the whole configuration, kept in every checkpoint for the reader.
            watchers: what looks at the averaged model between steps (common/training/watch.py).

        Raises:
            UserError: the batch does not divide by the processes, the output cannot be written, or its
                checkpoint belongs to another configuration.
        """
        if not config.output:
            raise UserError("train.output is empty; name the folder that the run shall write to.")
        self.config, self.strategy, self.description = config, strategy, dict(description or {})
        self.output = require_writable_dir(config.output)
        self.accelerator = _accelerator(config)
        self.world = self.accelerator.num_processes
        if self.accelerator.is_main_process:
            remove_partial(self.output)
        per_pass = config.micro_batch_size * self.world
        if config.global_batch_size % per_pass:
            raise UserError(
                f"train.global_batch_size is {config.global_batch_size}, which is no multiple of "
                f"train.micro_batch_size {config.micro_batch_size} times {self.world} processes."
            )
        self.accumulation = config.global_batch_size // per_pass
        self._build(latest_checkpoint(self.output))
        self.loader = DataLoader(
            DrawnSamples(dataset),
            batch_sampler=DrawSampler(
                dataset.sizes,
                config.global_batch_size,
                config.micro_batch_size,
                self.world,
                self.accelerator.process_index,
                config.seed,
                self.step,
                weights,
            ),
            collate_fn=strategy.collate(),
            num_workers=config.num_workers,
            pin_memory=self.accelerator.device.type == "cuda",
        )
        self.speed = SpeedMeter(strategy, self.accelerator)
        self.watchers = tuple(watchers)

    def run(self) -> TrainResult:
        """Train, save, and write the package."""
        config = self.config
        self._started, self._logged_at = time.monotonic(), self.step
        log = RunLog(self.output, self.step, config.max_steps) if self.accelerator.is_main_process else None
        meter = LossMeter(self.accelerator.device)
        watching = Watching(self.watchers, self.accelerator, self.output, log)
        batches = iter(self.loader)
        loss, saved_at = None, self.step
        try:
            # Also what a cut kept the run before from looking at, and the untrained model.
            self._watch(watching, at_save=True)
            while self.step < config.max_steps and (progress := self._progress()) < 1.0:
                rate = learning_rate(config, self.step, progress)
                grad_norm = self._optimiser_step(batches, meter, rate)
                if self.step % config.log_every == 0 or self.step == config.max_steps:
                    loss = self._log(log, meter, grad_norm, rate)
                if self.step % config.save_every == 0:
                    self.save()
                    saved_at = self.step
                self._watch(watching, at_save=saved_at == self.step)
            if saved_at != self.step:
                self.save()
            self._watch(watching, at_save=True)
        finally:
            if log is not None:
                log.close()
        package = self._package()
        self.accelerator.end_training()
        return TrainResult(self.step, loss, package)

    def save(self) -> None:
        """Write a checkpoint: trained parameters, their averages, optimiser state, and where the run is."""
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            groups: dict[str, Mapping[str, Tensor]] = {
                "model": self.parameters,
                "optimizer": optimizer_tensors(self._raw_optimizer(), self.parameters),
            }
            if self.average is not None:
                groups["ema"] = self.average.averages
            meta = {
                "identity": self._identity(),
                "seconds": self._seconds(),
                "ema_updates": self.average.updates if self.average is not None else 0,
                "config": self.description,
            }
            save_checkpoint(self.output, self.step, groups, meta, self.config.keep_checkpoints)
        self.accelerator.wait_for_everyone()

    def _build(self, checkpoint: Checkpoint | None) -> None:
        """Model, optimiser and average, as new or as the checkpoint left them."""
        torch.manual_seed(self.config.seed)
        self.model = self.strategy.build_model().train()
        self.step, self._seconds_before, self._started = 0, 0.0, time.monotonic()
        if checkpoint is not None:
            self._check_identity(checkpoint)
            load_parameters(_trained(self.model), checkpoint.tensors("model"), checkpoint.folder)
            self.step, self._seconds_before = checkpoint.step, float(checkpoint.meta["seconds"])
        optimizer = _optimizer(_trained(self.model), self.config)
        self.wrapped, self.optimizer = self.accelerator.prepare(self.model, optimizer)
        self.parameters = _trained(self.model)
        decay = self.config.ema_decay
        self.average = ParameterAverage(self.parameters, decay) if decay else None
        if checkpoint is None:
            return
        load_optimizer(self._raw_optimizer(), self.parameters, checkpoint.tensors("optimizer"))
        if self.average is not None and checkpoint.meta["ema_updates"]:
            self.average.load(checkpoint.tensors("ema"), checkpoint.meta["ema_updates"])

    def _optimiser_step(self, batches: Iterator[Any], meter: LossMeter, rate: float) -> Tensor:
        """One optimiser step over the global batch; returns the norm of the gradient before clipping."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        timer = self.speed.timer
        timer.start()
        for i in range(self.accumulation):
            inputs = self.strategy.prepare(next(batches), self.accelerator.device)
            self.speed.add(self.model, inputs)
            timer.lap("data")
            # Gradients cross processes once per optimiser step.
            last = i == self.accumulation - 1
            with nullcontext() if last else self.accelerator.no_sync(self.wrapped):
                losses = self.strategy.loss(self.wrapped, inputs)
                timer.lap("forward")
                self.accelerator.backward(losses.loss.mean() / self.accumulation)
                timer.lap("backward")
            meter.add(losses)
        norm = self.accelerator.clip_grad_norm_(list(self.parameters.values()), self.config.grad_clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update()
        timer.lap("optimizer")
        self.step += 1
        return norm

    def _log(self, log: RunLog | None, meter: LossMeter, grad_norm: Tensor, rate: float) -> float | None:
        sums, counts = meter.drain()
        sums = {name: self.accelerator.reduce(values, "sum") for name, values in sums.items()}
        counts = self.accelerator.reduce(counts, "sum")
        speed = self.speed.drain(self.step - self._logged_at)
        self._logged_at = self.step
        if log is None:
            return None
        row = log.write(self.step, sums, counts, grad_norm, rate, speed)
        left = (self.config.max_steps - self.step) * log.seconds_per_step()
        if limit := 60 * self.config.time_limit_minutes:
            left = min(left, max(0.0, limit - self._seconds()))
        log.console(row, left)
        return float(row["loss"])

    def _watch(self, watching: Watching, at_save: bool) -> None:
        """Let the watchers that are due look at the averaged weights; every process takes part."""
        due = watching.due(self.step, at_save)
        if due:
            with self.average.applied() if self.average is not None else nullcontext():
                watching.look(due, self.step, self.wrapped, self.model)

    def _package(self) -> Path:
        """Write the model package with the averaged weights, on the main process."""
        folder = self.output / PACKAGE
        if self.accelerator.is_main_process:
            with self.average.applied() if self.average is not None else nullcontext():
                self.strategy.save_package(self.model, folder)
        self.accelerator.wait_for_everyone()
        return folder

    def _identity(self) -> dict[str, Any]:
        config = self.config
        own = {
            "seed": config.seed,
            "global_batch_size": config.global_batch_size,
            "optimizer": config.optimizer,
        }
        return {**own, **self.strategy.identity()}

    def _check_identity(self, checkpoint: Checkpoint) -> None:
        before, now = checkpoint.meta["identity"], self._identity()
        for name in sorted({*before, *now}):
            if before.get(name) != now.get(name):
                raise UserError(
                    f"{checkpoint.folder}: was made with {name} {before.get(name)}, the configuration says "
                    f"{now.get(name)}; use another train.output, or train.init_from for a new run from there."
                )

    def _seconds(self) -> float:
        """Time spent training, earlier runs included."""
        return self._seconds_before + time.monotonic() - self._started

    def _progress(self) -> float:
        """Share of the run that is over. Under a time limit the main process' clock decides for all."""
        by_steps = self.step / self.config.max_steps
        if not self.config.time_limit_minutes:
            return by_steps
        by_time = self._seconds() / (60 * self.config.time_limit_minutes)
        shared = torch.tensor(max(by_steps, by_time), device=self.accelerator.device)
        return float(broadcast(shared)) if self.world > 1 else float(shared)

    def _raw_optimizer(self) -> torch.optim.Optimizer:
        return getattr(self.optimizer, "optimizer", self.optimizer)


def _accelerator(config: TrainConfig) -> Accelerator:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    precision = resolve_precision(config.mixed_precision, device)
    if is_emulated(precision, device):
        warnings.warn(
            "train.mixed_precision=bf16 is emulated on this CPU and many times slower than fp32", stacklevel=2
        )
    return Accelerator(mixed_precision=precision, cpu=device == "cpu")


def _optimizer(parameters: Mapping[str, nn.Parameter], config: TrainConfig) -> torch.optim.Optimizer:
    if config.optimizer == "muon":
        return Muon(parameters.values(), lr=config.learning_rate)
    # Norms, biases and modulation are not decayed: pulling them to zero is no regularisation.
    decayed = [value for value in parameters.values() if value.ndim > 1]
    plain = [value for value in parameters.values() if value.ndim <= 1]
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        fused=True,
    )


def _trained(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: value for name, value in model.named_parameters() if value.requires_grad}
