"""Callbacks: code that runs between two steps of a training, such as the held-out loss and samples.

The trainer depends on this protocol only. A callback must not touch the global random state, the model's
weights or its flags: a run gives the same losses with and without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn

from common.training.layout import ProcessLayout


@dataclass(frozen=True)
class StepResult:
    """What a callback reports of one step, on the main process.

    row: for metrics.jsonl (JSON values). line: for the console. scalars and images, (H, W, 3) uint8: for
    TensorBoard, by name.
    """

    row: Mapping[str, Any]
    line: str
    scalars: Mapping[str, float] = field(default_factory=dict)
    images: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainingContext:
    """What a callback gets of the training.

    Attributes:
        wrapped: what is called; it may be sharded, so that every process has to call it equally often.
        model: the same model, unwrapped, for its adapters.
        layout: which processes look at the same samples.
    """

    step: int
    wrapped: nn.Module
    model: nn.Module
    accelerator: Accelerator
    layout: ProcessLayout
    output: Path

    def sum(self, values: Tensor) -> Tensor:
        """Sum over all samples of what every process has of its own; they all call it."""
        # Processes that share a sample have the same of it.
        return self.accelerator.reduce(values, "sum") / self.layout.context


class TrainingCallback(Protocol):
    """Looks at the model every ``every`` steps, or with 0 at every save; also before the first step."""

    name: str
    every: int

    def run(self, context: TrainingContext) -> StepResult:
        """Called by all processes together, without gradients; only the main process' answer is used."""
        ...
