"""The same change of light on both videos of a pair (P, docs/notation.md §4: about 5 % of the pairs)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from common.data.photometric import DISPLAY_GAMMA
from stage1_generator.companions.plan import clip_seed

# Stops from one side of the crop to the other, overall, and between colour channels (standard deviations).
_SLOPE, _LEVEL, _TINT = 0.5, 0.25, 0.08


def light_field(seed: int, size: int) -> NDArray[np.float32]:
    """Gain per pixel and channel in linear light, (S, S, 3): a slope across the picture, level, tint."""
    random = np.random.default_rng(seed)
    angle = random.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:size, 0:size] / max(size - 1, 1) - 0.5
    slope = random.normal(0, _SLOPE) * (x * np.cos(angle) + y * np.sin(angle))
    stops = slope[..., None] + random.normal(0, _LEVEL) + random.normal(0, _TINT, 3)
    return np.exp2(stops).astype(np.float32)


def relight(frames: NDArray[np.uint8], gain: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Frames (N, S, S, 3) under other light; `gain` is (S, S, 3)."""
    factor = gain ** (1.0 / DISPLAY_GAMMA)
    return np.stack([np.clip(np.rint(frame * factor), 0, 255).astype(np.uint8) for frame in frames])


def is_relit(key: str, seed: int, fraction: float) -> bool:
    """Whether a pair is among the `fraction` that is relit; drawn per key."""
    return bool(np.random.default_rng(clip_seed(seed, key, "relight")).random() < fraction)
