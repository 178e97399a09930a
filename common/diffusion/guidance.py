"""Classifier-free guidance with three branches, and the schedules of its scales (R; docs/notation.md §6).

v = v(0, 0) + s_ref (v(ref, 0) - v(0, 0)) + s_aud (v(ref, aud) - v(ref, 0))
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from common.diffusion.config import DiffusionConfig
from common.models.speed import SpeedConfig

AUDIO_POWER = 1.5
# (sigma, factor) of the reference scale: constant outside and between equal neighbours, else cosine blends.
REFERENCE_SCHEDULE = ((0.35, 0.3), (0.45, 0.6), (0.75, 0.6), (0.85, 1.0))


@dataclass(frozen=True)
class Branch:
    """Which conditions one evaluation of the model sees; a dropped one is replaced by zeros."""

    reference: bool
    audio: bool


UNCONDITIONAL = Branch(reference=False, audio=False)
REFERENCE_ONLY = Branch(reference=True, audio=False)
CONDITIONAL = Branch(reference=True, audio=True)


@dataclass(frozen=True)
class Guidance:
    """Scales of the two guidance directions; with ``dynamic`` they follow the release's schedules over sigma.

    A scale of exactly 1 switches its direction off, schedule included: stage 1 uses ``reference_scale`` = 1.
    ``audio_floor``: least factor that the schedule gives the audio scale (.5 of TBDub's teacher). Outside the
    closed ``interval`` of sigma there is no guidance: the branch that sees all conditions stands alone
    (arXiv 2404.07724).
    """

    reference_scale: float = 2.0
    audio_scale: float = 7.0
    dynamic: bool = True
    interval: tuple[float, float] = (0.0, 1.0)
    audio_floor: float = 0.0

    def scales(self, sigma: float) -> tuple[float, float]:
        """(s_ref, s_aud) at noise level ``sigma``."""
        if not self.interval[0] <= sigma <= self.interval[1]:
            return 1.0, 1.0
        reference, audio = self.reference_scale, self.audio_scale
        if self.dynamic and reference != 1:
            reference *= reference_factor(sigma)
        if self.dynamic and audio != 1:
            audio *= max(sigma**AUDIO_POWER, self.audio_floor)
        return reference, audio

    def weights(self, sigma: float) -> dict[Branch, float]:
        """The branches to evaluate at ``sigma`` and the weight of each; they add up to 1, none is zero."""
        reference, audio = self.scales(sigma)
        weights = {UNCONDITIONAL: 1 - reference, REFERENCE_ONLY: reference - audio, CONDITIONAL: audio}
        return {branch: weight for branch, weight in weights.items() if weight != 0}


def build_guidance(config: DiffusionConfig, speed: SpeedConfig | None = None) -> Guidance:
    """The guidance that a ``diffusion`` section describes, in the interval of a ``speed`` section."""
    low, high = (speed or SpeedConfig()).guidance_interval
    return Guidance(
        config.reference_scale,
        config.audio_scale,
        config.dynamic_schedule,
        (low, high),
        config.audio_floor,
    )


def reference_factor(sigma: float) -> float:
    """Factor of the reference scale: .3 up to .35, .6 in [.45, .75], 1 from .85 on, else blends (R)."""
    before, *rest = REFERENCE_SCHEDULE
    if sigma <= before[0]:
        return before[1]
    for after in rest:
        if sigma <= after[0]:
            progress = (sigma - before[0]) / (after[0] - before[0])
            return before[1] + (after[1] - before[1]) * (1 - math.cos(math.pi * progress)) / 2
        before = after
    return before[1]
