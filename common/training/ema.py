"""Exponential moving average of the parameters that are trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from common.training.distribute import local


class ParameterAverage:
    """Keeps fp32 averages of named parameters: ``average <- decay * average + (1 - decay) * parameter``.

    The decay is lowered early on to ``(1 + n) / (10 + n)`` after n updates, so that the random start does not
    linger in short runs.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self._live = dict(parameters)
        self.averages = {name: value.detach().float().clone() for name, value in self._live.items()}

    @torch.no_grad()
    def update(self) -> None:
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        # Split parameters have split averages: each process keeps up its own part.
        live = [local(value.detach()).float() for value in self._live.values()]
        torch._foreach_lerp_([local(value) for value in self.averages.values()], live, 1.0 - decay)

    @torch.no_grad()
    def restart(self) -> None:
        """Begin anew with the parameters as they are."""
        self.updates = 0
        for name, value in self._live.items():
            self.averages[name].copy_(value.detach())

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within the block the live parameters hold the averages; afterwards their own values again."""
        own = {name: value.detach().clone() for name, value in self._live.items()}
        self._write(self.averages)
        try:
            yield
        finally:
            self._write(own)

    @torch.no_grad()
    def _write(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self._live.items():
            parameter.copy_(values[name])
