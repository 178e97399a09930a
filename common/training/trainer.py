"""The training loop: any strategy, any number of processes, resumable at every checkpoint."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, broadcast
from torch import Tensor
from torch.utils.data import DataLoader

from common.arithmetic import is_emulated, resolve_precision
from common.data.config import DataConfig
from common.data.dataset import ShardDataset
from common.data.order import build_order
from common.errors import UserError
from common.files import remove_partial, require_writable_dir
from common.training.callback import TrainingCallback
from common.training.callback_runner import CallbackRunner
from common.training.checkpoint import Checkpoint, latest_checkpoint, save_checkpoint
from common.training.config import OptimisationConfig
from common.training.distribute import clip_gradients, gradient_exchange
from common.training.draws import DrawSampler
from common.training.durable import DiskFullError, together
from common.training.layout import ProcessLayout
from common.training.loading import DrawnSamples
from common.training.meter import LossMeter, RunLog
from common.training.record import data_fingerprint
from common.training.schedule import learning_rate
from common.training.state import TrainingState, set_rate
from common.training.strategy import Alternating, Strategy
from common.training.throughput import SpeedMeter

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

    ``config.sharding`` says whether every process holds the whole model (DDP) or a part of it (FSDP2).

    On a full disk training goes on and a checkpoint is tried again at its next turn; only a run whose end
    cannot be written fails.
    """

    def __init__(
        self,
        config: OptimisationConfig,
        strategy: Strategy,
        dataset: ShardDataset,
        data: DataConfig | None = None,
        description: Mapping[str, Any] | None = None,
        callbacks: Sequence[TrainingCallback] = (),
    ) -> None:
        """
        Args:
            data: the order in which ``dataset`` is drawn; its defaults when left out.
            description: the whole configuration, kept in every checkpoint for the reader.
            callbacks: what looks at the averaged model between steps (common/training/callback.py).

        Raises:
            UserError: the batch does not divide by the processes, the output cannot be written, or its
                checkpoint belongs to another configuration.
        """
        if not config.output:
            raise UserError("train.output is empty; name the folder that the run shall write to.")
        self.config, self.strategy, self.description = config, strategy, dict(description or {})
        self.output = require_writable_dir(config.output)
        self.accelerator = _accelerator(config, isinstance(strategy, Alternating))
        self.world = self.accelerator.num_processes
        data = data or DataConfig()
        self._data = data_fingerprint(dataset, data)
        self.layout = ProcessLayout(self.world, self.accelerator.process_index, config.context_parallel)
        if self.accelerator.is_main_process:
            remove_partial(self.output)
        self.accumulation = self.layout.accumulation(config.global_batch_size, config.micro_batch_size)
        self._seconds_before, self._started = 0.0, time.monotonic()
        checkpoint = latest_checkpoint(self.output)
        if checkpoint is not None:
            self._check_identity(checkpoint)
        self.state = TrainingState(config, strategy, self.accelerator, self.layout)
        if checkpoint is not None:
            self.state.restore(checkpoint)
            self._seconds_before = float(checkpoint.meta["seconds"])
        self.loader = DataLoader(
            DrawnSamples(dataset),
            batch_sampler=DrawSampler(
                build_order(dataset, data, config.global_batch_size, config.seed),
                config.global_batch_size,
                config.micro_batch_size,
                self.layout.data_world,
                self.layout.data_rank,
                self.step,
            ),
            collate_fn=strategy.collate(),
            num_workers=config.num_workers,
            pin_memory=self.accelerator.device.type == "cuda",
        )
        self.speed = SpeedMeter(strategy, self.accelerator, self.layout.context)
        self.callbacks = tuple(callbacks)

    @property
    def step(self) -> int:
        """Optimiser steps made."""
        return self.state.step

    def run(self) -> TrainResult:
        """Train, save, and write the package.

        Raises:
            UserError: the last checkpoint or the package could not be written, since the disk is full.
        """
        config = self.config
        self._started, self._logged_at = time.monotonic(), self.step
        log = self._open_log()
        meter = LossMeter(self.accelerator.device)
        runner = CallbackRunner(self.callbacks, self.accelerator, self.layout, self.output, log)
        batches = iter(self.loader)
        loss, saved, start = None, False, self.step
        try:
            # Also what an interrupted run before this one could not report, and the untrained model.
            self._run_callbacks(runner, at_save=True)
            while self.step < config.max_steps and (progress := self._progress()) < 1.0:
                rate = learning_rate(config, self.step, progress)
                if isinstance(self.strategy, Alternating):
                    rate *= self.strategy.rate_at(self.step)
                grad_norm = self._optimiser_step(batches, meter, rate)
                if self.step % config.log_every == 0 or self.step == config.max_steps:
                    loss = self._log(log, meter, grad_norm, rate)
                saved = self.step % config.save_every == 0 and self.save()
                self._run_callbacks(runner, at_save=saved)
            saved = saved or self.step == start or self.save()
            self._run_callbacks(runner, at_save=True)
        finally:
            if log is not None:
                log.close()
        packed = self._package()
        self._disconnect()
        missing = [] if saved else [f"the checkpoint of step {self.step}"]
        missing += [] if packed else ["the model package"]
        if missing:
            raise UserError(
                f"{self.output}: the disk is full, {' and '.join(missing)} could not be written; free space "
                "and run the same command again, which goes on from the newest checkpoint there."
            )
        return TrainResult(self.step, loss, self.output / PACKAGE)

    def save(self) -> bool:
        """Write a checkpoint: trained parameters, their averages, optimiser state, and where the run is.

        Returns:
            False where there was no space for it: the older ones are as they were.
        """
        meta = {
            "identity": self._identity(),
            "seconds": self._seconds(),
            "ema_updates": self.state.ema_updates,
            "config": self.description,
        }
        keep = self.config.keep_checkpoints
        try:
            save_checkpoint(
                self.output, self.step, self.state.tensors(), meta, keep, collective=self.world > 1
            )
        except DiskFullError as error:
            if self.accelerator.is_main_process:
                print(
                    f"warning: step {self.step} is not saved, there is no space in {self.output} "
                    f"({error.reason}); training goes on and tries again at the next save",
                    file=sys.stderr,
                    flush=True,
                )
            return False
        return True

    def _optimiser_step(self, batches: Iterator[Any], meter: LossMeter, rate: float) -> Tensor:
        """One optimiser step over the global batch; returns the norm of the gradient before clipping."""
        state = self.state
        set_rate(state.optimizer, rate)
        timer = self.speed.timer
        timer.start()
        for i in range(self.accumulation):
            inputs = self.strategy.prepare(next(batches), self.accelerator.device)
            self.speed.add(state.model, inputs)
            timer.lap("data")
            # Gradients cross processes once per optimiser step.
            last = i == self.accumulation - 1
            with gradient_exchange(state.wrapped, last):
                losses = self.strategy.loss(state.wrapped, inputs)
                timer.lap("forward")
                self.accelerator.backward(losses.loss.mean() / self.accumulation)
                timer.lap("backward")
            meter.add(losses)
        norm = clip_gradients(state.parameters, self.config.grad_clip)
        state.optimizer.step()
        state.optimizer.zero_grad(set_to_none=True)
        state.finish_step()
        timer.lap("optimizer")
        return norm

    def _log(self, log: RunLog | None, meter: LossMeter, grad_norm: Tensor, rate: float) -> float | None:
        sums, counts = meter.drain()
        # Processes that share samples count each of them.
        copies = self.layout.context
        sums = {name: self.accelerator.reduce(values, "sum") / copies for name, values in sums.items()}
        counts = self.accelerator.reduce(counts, "sum") / copies
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

    def _run_callbacks(self, runner: CallbackRunner, at_save: bool) -> None:
        """Let the callbacks that are due see the averaged weights; every process takes part."""
        due = runner.due(self.step, at_save)
        if due:
            with self.state.averaged():
                runner.run(due, self.step, self.state.wrapped, self.state.model)

    def _package(self) -> bool:
        """Write the model package with the averaged weights, on the main process; False without space."""
        try:
            with self.state.whole_average() as model, together(self.world > 1):
                if self.accelerator.is_main_process:
                    self.strategy.save_package(model, self.output / PACKAGE)
        except DiskFullError:
            return False
        return True

    def _disconnect(self) -> None:
        """Leave the other processes. What is last to hold the process group must not be DDP's reducer.

        That one keeps Python's lock while it waits for a thread of gloo, which may be waiting for the lock.
        """
        self.state.wrapped = self.state.model
        self.accelerator.free_memory()  # its own references, and cycles
        self.accelerator.end_training()

    def _open_log(self) -> RunLog | None:
        """The log of the main process. Raises DiskFullError: there is no point in starting without space."""
        if not self.accelerator.is_main_process:
            return None
        with together(collective=False):
            return RunLog(self.output, self.step, self.config.max_steps)

    def _identity(self) -> dict[str, Any]:
        config = self.config
        own = {
            "seed": config.seed,
            "global_batch_size": config.global_batch_size,
            "optimizer": config.optimizer,
            "data": self._data,
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


def _accelerator(config: OptimisationConfig, alternating: bool) -> Accelerator:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    precision = resolve_precision(config.mixed_precision, device)
    if is_emulated(precision, device):
        warnings.warn(
            "train.mixed_precision=bfloat16 is emulated on this device and many times slower than float32",
            stacklevel=2,
        )
    # DDP must not wait for gradients of a part that this step does not train.
    handlers = [DistributedDataParallelKwargs(find_unused_parameters=True)] if alternating else None
    word = "bf16" if precision == torch.bfloat16 else "no"
    return Accelerator(mixed_precision=word, cpu=device == "cpu", kwargs_handlers=handlers)
