"""What looks at a model in training between two steps: the held-out loss, samples, whatever a task wants.

The trainer knows only this. A watcher must not touch the global random state, the model's weights or its
flags: a run gives the same losses with and without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from numpy.typing import NDArray
from torch import Tensor, nn

from common.training.layout import ProcessLayout

if TYPE_CHECKING:
    from common.training.meter import RunLog


@dataclass(frozen=True)
class Seen:
    """What a watcher has to say, on the main process.

    row: for metrics.jsonl (JSON values). line: for the console. scalars and images, (H, W, 3) uint8: for
    TensorBoard, by name.
    """

    row: Mapping[str, Any]
    line: str
    scalars: Mapping[str, float] = field(default_factory=dict)
    images: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)


@dataclass(frozen=True)
class Scene:
    """Where a watcher looks.

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


class Watcher(Protocol):
    """Looks at the model every ``every`` steps, or with 0 at every save; also before the first step."""

    name: str
    every: int

    def look(self, scene: Scene) -> Seen:
        """Called by all processes together, without gradients; only the main process' answer is used."""
        ...


class Watching:
    """The watchers of a run and what they have seen already."""

    def __init__(
        self,
        watchers: Sequence[Watcher],
        accelerator: Accelerator,
        layout: ProcessLayout,
        output: Path,
        log: RunLog | None,
    ) -> None:
        self._watchers, self._accelerator = tuple(watchers), accelerator
        self._layout, self._output, self._log = layout, output, log

    def due(self, step: int, at_save: bool) -> list[Watcher]:
        """Who shall look after ``step``. ``at_save``: a checkpoint of it was written. The same on all
        processes: the main process knows what a run before this one has logged."""
        due = [w for w in self._watchers if (step % w.every == 0 if w.every else at_save)]
        if not due:
            return []
        missing = [self._log is not None and not self._log.noted(step, w.name) for w in due]
        shared = torch.tensor(missing, dtype=torch.int32, device=self._accelerator.device)
        if self._accelerator.num_processes > 1:
            broadcast(shared)
        return [watcher for watcher, wanted in zip(due, shared.tolist(), strict=True) if wanted]

    def look(self, due: Sequence[Watcher], step: int, wrapped: nn.Module, model: nn.Module) -> None:
        scene = Scene(step, wrapped, model, self._accelerator, self._layout, self._output)
        training = wrapped.training
        wrapped.eval()
        try:
            for watcher in due:
                with torch.no_grad():
                    seen = watcher.look(scene)
                if self._log is not None:
                    self._log.note(step, watcher.name, seen)
        finally:
            wrapped.train(training)
