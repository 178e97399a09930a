"""Runs a training's callbacks when they are due and logs what they report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import nn

from common.training.callback import TrainingCallback, TrainingContext
from common.training.layout import ProcessLayout
from common.training.meter import RunLog


class CallbackRunner:
    """The callbacks of a run and its log, which says what they have reported already."""

    def __init__(
        self,
        callbacks: Sequence[TrainingCallback],
        accelerator: Accelerator,
        layout: ProcessLayout,
        output: Path,
        log: RunLog | None,
    ) -> None:
        self._callbacks, self._accelerator = tuple(callbacks), accelerator
        self._layout, self._output, self._log = layout, output, log

    def due(self, step: int, at_save: bool) -> list[TrainingCallback]:
        """The callbacks to run after ``step``, the same on all processes.

        The main process decides: its log holds what an earlier run into the same folder has reported.

        Args:
            at_save: a checkpoint of this step was written.
        """
        due = [c for c in self._callbacks if (step % c.every == 0 if c.every else at_save)]
        if not due:
            return []
        missing = [self._log is not None and not self._log.noted(step, c.name) for c in due]
        shared = torch.tensor(missing, dtype=torch.int32, device=self._accelerator.device)
        if self._accelerator.num_processes > 1:
            broadcast(shared)
        return [callback for callback, wanted in zip(due, shared.tolist(), strict=True) if wanted]

    def run(self, due: Sequence[TrainingCallback], step: int, wrapped: nn.Module, model: nn.Module) -> None:
        """Run these callbacks on the model in evaluation mode and log their results."""
        context = TrainingContext(step, wrapped, model, self._accelerator, self._layout, self._output)
        training = wrapped.training
        wrapped.eval()
        try:
            for callback in due:
                with torch.no_grad():
                    result = callback.run(context)
                if self._log is not None:
                    self._log.note(step, callback.name, result)
        finally:
            wrapped.train(training)
