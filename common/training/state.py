"""What a training run changes and a checkpoint holds: model, optimiser, averages, and how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from common.training.checkpoint import Checkpoint, load_optimizer, optimizer_tensors
from common.training.config import OptimisationConfig
from common.training.distribute import data_mesh, fill, hollow_copy, shard_model
from common.training.ema import ParameterAverage
from common.training.layout import ProcessLayout
from common.training.muon import Muon
from common.training.strategy import Alternating, Scaled, Strategy

SCALE = "rate_scale"
"""Of a group of the optimiser: its learning rate over the schedule's."""


class TrainingState:
    """The model of a strategy on this process' device, as new or as a checkpoint left it.

    Attributes:
        step: optimiser steps made.
        model: as the strategy built it; under FSDP2 its parameters are split.
        wrapped: the same as training calls it: under autocast, gradients averaged over the processes.
        parameters: those that are trained, by name.
        average: their moving average, None where there is none.
    """

    def __init__(
        self, config: OptimisationConfig, strategy: Strategy, accelerator: Accelerator, layout: ProcessLayout
    ) -> None:
        """Raises UserError where the model cannot be split or shared as ``config`` asks."""
        self._strategy, self._accelerator = strategy, accelerator
        torch.manual_seed(config.seed)
        self.step = 0
        self.model = strategy.build_model().train()
        # Without values, for packages of a model that no process holds whole.
        self._hollow = hollow_copy(self.model) if config.sharding == "fsdp2" else None
        self.wrapped = self._distribute()
        # After the copy, which has no use for a group of processes.
        layout.share(self.model, accelerator.device.type)
        self.parameters = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        scale = strategy.rate_scale if isinstance(strategy, Scaled) else None
        self.optimizer = build_optimizer(self.parameters, config, scale)
        self.average = ParameterAverage(self._averaged(), config.ema_decay) if config.ema_decay else None

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on where ``checkpoint`` was written. Raises UserError where it does not fit the model."""
        checkpoint.read("model", self.parameters)
        load_optimizer(self.optimizer, self.parameters, checkpoint)
        if self.average is not None:
            self.average.updates = checkpoint.meta["ema_updates"]
            # A run without an average before this one: it begins with the weights as they are now.
            if self.average.updates:
                checkpoint.read("ema", self.average.averages)
            else:
                self.average.restart()
        self.step = checkpoint.step

    def tensors(self) -> dict[str, Mapping[str, Tensor]]:
        """Groups of tensors for a checkpoint; of split ones this process' part."""
        groups: dict[str, Mapping[str, Tensor]] = {
            "model": self.parameters,
            "optimizer": optimizer_tensors(self.optimizer, self.parameters),
        }
        if self.average is not None:
            groups["ema"] = self.average.averages
        return groups

    @property
    def ema_updates(self) -> int:
        return self.average.updates if self.average is not None else 0

    def finish_step(self) -> None:
        """Count a step whose gradients the optimiser has used."""
        strategy = self._strategy
        moved = not isinstance(strategy, Alternating) or strategy.trains_packaged(self.step)
        if self.average is not None and moved:
            self.average.update()
        self.step += 1

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within the block the model has the averaged weights, where there are any."""
        with self.average.applied() if self.average is not None else nullcontext():
            yield

    @contextmanager
    def whole_average(self) -> Iterator[nn.Module]:
        """The model with whole, averaged weights, for a package; on the main process, all others get a shell.

        All processes enter and leave the block.
        """
        if self._hollow is None:
            with self.averaged():
                yield self.model
            return
        averages = self.average.averages if self.average is not None else {}
        values = {**dict(self.model.named_parameters()), **averages}
        fill(self._hollow, values, keep=self._accelerator.is_main_process)
        yield self._hollow

    def _distribute(self) -> Any:
        accelerator = self._accelerator
        if self._hollow is None:
            return accelerator.prepare_model(self.model)
        shard_model(self.model, data_mesh(accelerator.device), accelerator.mixed_precision == "bf16")
        # Autocast alone: placed and distributed it is already.
        return accelerator.prepare_model(self.model, device_placement=False, evaluation_mode=True)

    def _averaged(self) -> dict[str, nn.Parameter]:
        """The parameters that the package will hold."""
        if not isinstance(self._strategy, Alternating):
            return self.parameters
        packaged = self._strategy.is_packaged
        return {name: value for name, value in self.parameters.items() if packaged(name)}


def build_optimizer(
    parameters: Mapping[str, nn.Parameter],
    config: OptimisationConfig,
    rate_scale: Callable[[str], float] | None = None,
) -> torch.optim.Optimizer:
    """The optimiser that ``train.optimizer`` names.

    Args:
        parameters: by name.
        config: how.
        rate_scale: of a parameter by its name, see :class:`Scaled`; None: all learn alike.
    """
    scales: dict[float, dict[str, nn.Parameter]] = {}
    for name, value in parameters.items():
        scales.setdefault(1.0 if rate_scale is None else rate_scale(name), {})[name] = value
    groups: list[dict[str, Any]] = []
    for scale, members in scales.items():
        if config.optimizer == "muon":
            groups.append({"params": list(members.values()), SCALE: scale})
            continue
        # Norms, biases and modulation are not decayed: pulling them to zero is no regularisation.
        decayed = [value for value in members.values() if value.ndim > 1]
        plain = [value for value in members.values() if value.ndim <= 1]
        groups.append({"params": decayed, SCALE: scale})
        groups.append({"params": plain, SCALE: scale, "weight_decay": 0.0})
    filled = [group for group in groups if group["params"]]
    if config.optimizer == "muon":
        return Muon(filled, lr=config.learning_rate)
    first, second = config.betas
    return torch.optim.AdamW(
        filled, config.learning_rate, (first, second), weight_decay=config.weight_decay, fused=True
    )


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Let the next step be taken at ``rate``, or what it is for each group."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group[SCALE]
