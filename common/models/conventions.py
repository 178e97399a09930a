"""How the clips of a package are cut and its noise is drawn, as its weights learnt or were published with."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from common.diffusion.windows import WindowRule


class CropRule(str, Enum):
    """Which squares the model sees."""

    head = "head"
    """They follow the head (:func:`common.face.crops.plan_crops`)."""
    release = "release"
    """Those of the X-Dub release (:mod:`common.face.release_crops`), resampled as by PIL."""


class NoiseRule(str, Enum):
    """What the noise of a window depends on, besides the seed."""

    frame = "frame"
    """The place of the window in the clip."""
    none = "none"
    """Nothing: every window of one length starts from the same noise, as in the X-Dub release."""


@dataclass(frozen=True)
class Conventions:
    """Attributes: crops, windows, noise: see there. seed: where the caller gives none."""

    crops: CropRule = CropRule.head
    windows: WindowRule = WindowRule.fitted
    noise: NoiseRule = NoiseRule.frame
    seed: int = 0


RELEASE = Conventions(CropRule.release, WindowRule.full, NoiseRule.none, seed=42)
"""Those of the X-Dub release (R)."""
