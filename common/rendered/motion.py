"""Smooth random motion: everything is a pure function of the time, so any frame can be drawn on its own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import pi, sin

import numpy as np


@dataclass(frozen=True)
class Wobble:
    """A sum of slow sine waves: `mean` plus, for each wave, amplitude * sin(2 pi hertz t + phase)."""

    mean: float
    amplitudes: tuple[float, ...]
    hertz: tuple[float, ...]
    phases: tuple[float, ...]

    def __call__(self, time: float) -> float:
        return self.mean + sum(
            a * sin(2 * pi * f * time + p)
            for a, f, p in zip(self.amplitudes, self.hertz, self.phases, strict=True)
        )


def sample_wobble(rng: np.random.Generator, mean: float, amplitude: float, fastest: float = 0.7) -> Wobble:
    """Three waves whose amplitudes fall with their frequency and sum to `amplitude`."""
    hertz = np.sort(rng.uniform(0.08, fastest, 3))
    share = rng.uniform(0.4, 1.0, 3) / (hertz + 0.15)
    amplitudes = amplitude * share / share.sum()
    phases = rng.uniform(0, 2 * np.pi, 3)
    return Wobble(
        float(mean), tuple(map(float, amplitudes)), tuple(map(float, hertz)), tuple(map(float, phases))
    )


def smoothstep(x: float) -> float:
    x = min(max(x, 0.0), 1.0)
    return x * x * (3.0 - 2.0 * x)


_BLINK_SLOT = 2.6  # seconds; one blink in most slots
_GAZE_SLOT = 1.3


def blink_amount(seed: int, time: float) -> float:
    """How far the lids are shut (0..1) at `time` seconds."""
    amount = 0.0
    for slot in (int(time // _BLINK_SLOT) - 1, int(time // _BLINK_SLOT)):
        moment = _blink_moment(seed, slot)
        if moment is not None:
            amount = max(amount, smoothstep(1.35 - abs(time - moment) / 0.085))
    return amount


@lru_cache(maxsize=1024)
def _blink_moment(seed: int, slot: int) -> float | None:
    rng = np.random.default_rng([seed, 0xB11, slot + 1])
    share = rng.uniform(0.1, 0.9)
    return float((slot + share) * _BLINK_SLOT) if rng.random() < 0.85 else None


@lru_cache(maxsize=1024)
def _fixation(seed: int, slot: int) -> tuple[float, float]:
    rng = np.random.default_rng([seed, 0x6A2E, slot + 1])
    away = rng.random() < 0.4
    x, y = rng.uniform(-1, 1, 2) * ([0.8, 0.45] if away else [0.15, 0.1])
    return float(x), float(y)


def gaze_direction(seed: int, time: float) -> tuple[float, float]:
    """Horizontal and vertical gaze, each about -1..1: fixations joined by quick movements."""
    slot = int(time // _GAZE_SLOT)
    (old_x, old_y), (new_x, new_y) = _fixation(seed, slot - 1), _fixation(seed, slot)
    blend = smoothstep((time - slot * _GAZE_SLOT) / 0.08)
    return old_x + blend * (new_x - old_x), old_y + blend * (new_y - old_y)
