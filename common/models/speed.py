"""The ``speed`` section: how a loaded model computes. It is no property of the weights and in no package."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from common.checks import at_least, one_of
from common.errors import UserError

BRANCHES = ("auto", "batched", "sequential")
STEP_CACHES = ("none", "first-block", "taylorseer", "taylorseer-lite")
ATTENTION_BACKENDS = ("native", "xformers", "flash", "sage")
QUANTIZATIONS = ("none", "int8", "fp8", "int8-dynamic", "fp8-dynamic")


@dataclass
class SpeedConfig:
    """Switches that trade pictures or memory for time; docs/speed.md says what each costs and gains.

    The defaults are exact: they compute what the package says, step by step. Only ``guidance_branches`` may
    change the last bits there, on a GPU with room.
    """

    guidance_branches: str = "auto"
    """Guidance branches in one batch or one after another; "auto": batched on a GPU that has the memory."""
    guidance_interval: list[float] = field(default_factory=lambda: [0.0, 1.0])
    """Guidance only for t in this closed range; elsewhere the model sees all conditions, once."""
    step_cache: str = "none"
    """What is taken over from earlier steps: nothing, "first-block", "taylorseer" or "taylorseer-lite"."""
    cache_threshold: float = 0.05
    """first-block: relative change of the first block's residual below which the others are skipped."""
    cache_interval: int = 3
    """taylorseer: every so many steps are computed in full; 1: all."""
    cache_warmup: int = 3
    """taylorseer: steps at the start, and behind every change of guidance or adapters, computed in full."""
    cache_order: int = 1
    """taylorseer: order of the extrapolation."""
    short_windows: bool = False
    """Windows as short as the clip allows, where the package's are always full; its weights have seen few."""
    compile: bool = False
    """torch.compile of the blocks; the first window of each length waits for the compiler."""
    attention_backend: str = "native"
    """Attention kernel; the others need a GPU and their package."""
    quantization: str = "none"
    """Weights of the blocks in 8 bits (torchao); "-dynamic" multiplies in 8 bits, too."""
    offload: bool = False
    """Blocks wait in main memory and visit the GPU in turn."""

    def __post_init__(self) -> None:
        one_of("speed.guidance_branches", self.guidance_branches, BRANCHES)
        span = self.guidance_interval
        if len(span) != 2 or not 0 <= span[0] <= span[1] <= 1:
            raise UserError(f"speed.guidance_interval is {span}; give two rising numbers within [0, 1].")
        one_of("speed.step_cache", self.step_cache, STEP_CACHES)
        at_least("speed.cache_threshold", self.cache_threshold, 0.0)
        at_least("speed.cache_interval", self.cache_interval, 1)
        at_least("speed.cache_warmup", self.cache_warmup, 1)
        at_least("speed.cache_order", self.cache_order, 0)
        one_of("speed.attention_backend", self.attention_backend, ATTENTION_BACKENDS)
        one_of("speed.quantization", self.quantization, QUANTIZATIONS)

    def changes(self) -> dict[str, Any]:
        """The fields that are not at their defaults."""
        exact = SpeedConfig()
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {name: value for name, value in values.items() if value != getattr(exact, name)}
