"""What a run shows of itself: TensorBoard scalars, a metrics.jsonl for programs, and a console line."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.errors import UserError
from common.files import atomic_path
from common.progress import format_duration
from common.training.callback import StepResult
from common.training.durable import DurableFile, summary_writer
from common.training.strategy import SampleLosses

BUCKETS = 5
METRICS = "metrics.jsonl"


class LossMeter:
    """Sums of losses per bucket of t, kept on the device: reading a number there would stall every step."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._sums: dict[str, Tensor] = {}
        self._counts = torch.zeros(BUCKETS, device=device)

    def add(self, losses: SampleLosses) -> None:
        bucket = (losses.sigma.detach() * BUCKETS).long().clamp(0, BUCKETS - 1)
        self._counts.index_add_(0, bucket, torch.ones_like(losses.sigma, dtype=self._counts.dtype))
        for name, values in {"loss": losses.loss, **losses.parts}.items():
            sums = self._sums.setdefault(name, torch.zeros(2, BUCKETS, device=self._device))
            values = values.detach().float()
            # A part that is NaN is not there for that sample; a loss that is NaN must stay one.
            there = torch.ones_like(values) if name == "loss" else (~values.isnan()).float()
            sums[0].index_add_(0, bucket, values if name == "loss" else values.nan_to_num())
            sums[1].index_add_(0, bucket, there)

    def drain(self) -> tuple[dict[str, Tensor], Tensor]:
        """(name -> (2, BUCKETS) sums and counts, (BUCKETS,) samples) since the last call; starts anew."""
        sums, counts = self._sums, self._counts
        self._sums, self._counts = {}, torch.zeros(BUCKETS, device=self._device)
        return sums, counts


class RunLog:
    """Writes the log of one run on the main process; continues the files of a resumed run without doubles."""

    def __init__(self, output: Path, start_step: int, max_steps: int) -> None:
        self._metrics = output / METRICS
        self._writer = summary_writer(output / "tensorboard", purge_step=start_step + 1)
        self._max_steps = max_steps
        self._begin = self._last = time.monotonic()
        self._begin_step = self._last_step = start_step
        self._noted = {(row["step"], name) for row in _drop_later(self._metrics, start_step) for name in row}
        self._rows = DurableFile(self._metrics)

    def write(
        self,
        step: int,
        sums: dict[str, Tensor],
        counts: Tensor,
        grad_norm: Tensor,
        rate: float,
        speed: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Log the steps since the last call; ``sums`` and ``counts`` are those of all processes together.

        ``speed`` is what ``SpeedMeter.drain`` gives.

        Raises:
            UserError: the loss is not finite.
        """
        now = time.monotonic()
        total = counts.sum()
        row: dict[str, Any] = {"step": step}
        means = {name: float(values[0].sum() / values[1].sum()) for name, values in sums.items()}
        # No sample had this part: there is no mean, and JSON has no NaN.
        row |= {name: None if sums[name][1].sum() == 0 else mean for name, mean in means.items()}
        per_bucket = (sums["loss"][0] / counts).tolist()  # NaN where no sample fell
        row["loss_by_t"] = [None if math.isnan(value) else value for value in per_bucket]
        row["grad_norm"], row["learning_rate"] = float(grad_norm), rate
        row["samples_per_second"] = float(total) / max(now - self._last, 1e-9)
        row |= speed or {}
        self._last, self._last_step = now, step
        if not math.isfinite(row["loss"]):
            raise UserError(
                f"The loss is {row['loss']} at step {step}: lower train.learning_rate and start again."
            )
        self._scalars(row)
        self._append(row)
        return row

    def note(self, step: int, name: str, result: StepResult) -> None:
        """Log what a callback reported after ``step``, as a row of its own with the key ``name``."""
        for scalar, value in result.scalars.items():
            if math.isfinite(value):
                self._writer.add_scalar(f"{name}/{scalar}", value, step)
        for label, image in result.images.items():
            self._writer.add_image(f"{name}/{label}", image, step, dataformats="HWC")
        self._append({"step": step, name: result.row})
        self._noted.add((step, name))
        print(f"step {step}/{self._max_steps}  {name}: {result.line}", file=sys.stderr, flush=True)

    def noted(self, step: int, name: str) -> bool:
        """Whether the callback's row for ``step`` is there, from this run or from the one before a cut."""
        return (step, name) in self._noted

    def console(self, row: dict[str, Any], seconds_left: float) -> None:
        """One line with the loss, the rate and the time left."""
        speed = f"{row['samples_per_second']:.2f} samples/s"
        if "tokens_per_second" in row:
            speed += f"  {row['tokens_per_second']:,.0f} tokens/s  mfu {row['mfu']:.0%}"
        if "data_share" in row:
            speed += f"  data {row['data_share']:.0%}"
        print(
            f"step {row['step']}/{self._max_steps}  loss {row['loss']:.4f}  grad {row['grad_norm']:.3f}  "
            f"{speed}  {format_duration(seconds_left)} left",
            file=sys.stderr,
            flush=True,
        )

    def seconds_per_step(self) -> float:
        return (time.monotonic() - self._begin) / max(1, self._last_step - self._begin_step)

    def close(self) -> None:
        self._rows.flush()
        self._writer.close()

    def _scalars(self, row: dict[str, Any]) -> None:
        step = row["step"]
        for name, value in row.items():
            if isinstance(value, float):
                self._writer.add_scalar(f"train/{name}", value, step)
        for i, value in enumerate(row["loss_by_t"]):
            if value is not None:
                low, high = i / BUCKETS, (i + 1) / BUCKETS
                self._writer.add_scalar(f"loss_by_t/{low:.1f}-{high:.1f}", value, step)
        for part, seconds in row.get("seconds_per_step", {}).items():
            self._writer.add_scalar(f"seconds_per_step/{part}", seconds, step)

    def _append(self, row: Mapping[str, Any]) -> None:
        self._rows.append((json.dumps(row) + "\n").encode())


def _drop_later(metrics: Path, step: int) -> list[dict[str, Any]]:
    """Remove rows of steps that a resumed run makes again, and what a kill left half-written; the rest."""
    if not metrics.is_file():
        return []
    kept, rows = [], []
    for line in metrics.read_text().splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            break
        if row["step"] <= step:
            kept.append(line)
            rows.append(row)
    with atomic_path(metrics) as temporary:
        temporary.write_text("".join(line + "\n" for line in kept))
    return rows
