"""Speed of a run: where the time goes, tokens per second, and how much of the device's peak is used."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from common.training.flops import Cost
from common.training.peak import data_sheet_peak, measured_peak
from common.training.timing import PARTS, StepTimer


class Priced(Protocol):
    """A strategy that knows what its forward and backward pass cost. Others are timed only."""

    def cost(self, model: nn.Module, inputs: Any) -> Cost | None: ...


class SpeedMeter:
    """Times the parts of each step and sums up what was computed in it.

    MFU (model FLOP utilisation) is useful FLOP/s over the device's peak; the time is that of the training
    steps alone, without logging, saving and callbacks.
    """

    def __init__(self, strategy: Any, accelerator: Accelerator, copies: int = 1) -> None:
        """``copies``: processes that share every sample among them."""
        self._accelerator, self._copies = accelerator, copies
        self._priced: Priced | None = strategy if hasattr(strategy, "cost") else None
        self.timer = StepTimer(accelerator.device)
        self._tokens, self._flops = 0, 0.0
        self._sheet: float | None = None
        self._peak = 0.0
        if self._priced is not None:
            bf16 = accelerator.mixed_precision == "bf16"
            self._peak = measured_peak(accelerator.device, torch.bfloat16 if bf16 else torch.float32)
            self._sheet = data_sheet_peak(accelerator.device) if bf16 else None

    def add(self, model: nn.Module, inputs: Any) -> None:
        """Count one micro-batch; nothing is read from the device."""
        if self._priced is not None:
            cost = self._priced.cost(model, inputs)
            if cost is None:
                self._priced = None
                return
            self._tokens += cost.tokens
            self._flops += cost.flops

    def drain(self, steps: int) -> dict[str, Any]:
        """Figures of the last ``steps`` steps, all processes together, for the log; starts anew.

        Every process has to call it.

        Returns:
            ``seconds_per_step`` by part (mean of the processes), ``data_share`` of them, and where the
            strategy knows its cost ``tokens_per_second``, ``tflops_per_device``, ``mfu`` against the measured
            peak and ``mfu_datasheet`` where the device is known and computes in bf16.
        """
        own = self.timer.drain()
        parts = self._sum([own.get(part, 0.0) for part in PARTS]) / self._accelerator.num_processes
        tokens, flops = (self._sum([float(self._tokens), self._flops]) / self._copies).tolist()
        self._tokens, self._flops = 0, 0.0
        total = max(float(parts.sum()), 1e-9)
        figures: dict[str, Any] = {
            "seconds_per_step": {
                part: value / steps for part, value in zip(PARTS, parts.tolist(), strict=True)
            },
            "data_share": float(parts[0]) / total,
        }
        if self._priced is None:
            return figures
        rate = flops / total / self._accelerator.num_processes
        figures |= {
            "tokens_per_second": tokens / total,
            "tflops_per_device": rate / 1e12,
            "mfu": rate / self._peak,
        }
        if self._sheet is not None:
            figures["mfu_datasheet"] = rate / self._sheet
        return figures

    def _sum(self, values: list[float]) -> Tensor:
        # Double precision: operations of a step exceed what float32 counts exactly, and nothing rounds away.
        mine = torch.tensor(values, dtype=torch.float64, device=self._accelerator.device)
        return self._accelerator.reduce(mine, "sum").cpu()
