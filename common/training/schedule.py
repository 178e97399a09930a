"""Learning rate as a pure function of how far the run is: nothing to save, nothing to restore."""

from __future__ import annotations

import math

from common.training.config import OptimisationConfig


def learning_rate(config: OptimisationConfig, step: int, progress: float) -> float:
    """Rate of optimiser step ``step`` (from 0), linear warm-up included.

    ``progress`` in [0, 1] is the share of the run that is over, by steps or, under a time limit, by time.
    """
    rate = config.learning_rate * min(1.0, (step + 1) / max(1, config.warmup_steps))
    if config.lr_schedule == "cosine":
        rate *= 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
    if config.lr_schedule == "linear":
        rate *= 1.0 - min(1.0, progress)
    return rate
