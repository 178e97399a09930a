"""How often a random change is made to training data, and how strongly."""

from __future__ import annotations

from dataclasses import dataclass, field

from common.errors import UserError


@dataclass
class ChangeConfig:
    """One change: how often a clip gets it, and the range from which its strength is drawn evenly."""

    probability: float = 0.0
    range: list[float] = field(default_factory=lambda: [0.0, 0.0])


def check_change(key: str, change: ChangeConfig) -> None:
    """Raises UserError where the probability or the range of a change is none."""
    low_high = list(change.range)
    if not 0 <= change.probability <= 1:
        raise UserError(f"{key}.probability is {change.probability}; give one from 0 to 1.")
    if len(low_high) != 2 or not 0 <= low_high[0] <= low_high[1]:
        raise UserError(f"{key}.range is {low_high}; give two numbers, the smaller one first.")
