"""What a caller may ask of the sampler, from a command line to the sampler one object."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any, get_args, get_type_hints

from common.diffusion.config import DiffusionConfig
from common.errors import UserError


@dataclass(frozen=True)
class SamplingOptions:
    """Changes to how a package samples; None: what the package says.

    Attributes:
        seed: of all noise; None: the package's.
        num_steps: Euler steps per window and pass.
        passes: how often a window is dubbed, from what the pass before made of it.
        reference_scale: guidance towards the reference.
        audio_scale: guidance towards the speech.
        shift: of the noise levels; above 1 more of the steps are spent at high noise.
        start_from: "noise", or "inversion" of the source (:mod:`common.diffusion.inversion`).
        inversion_strength: 0 to 1, how much of the source's own path to noise there is in the start.
        inversion_steps: Euler steps of the inversion; 0: num_steps.
        windows: of long clips: "motion_latents", one after another, or "multidiffusion", several averaged
            (:mod:`common.diffusion.multidiffusion`).
        window_frames, window_stride: of multidiffusion, in frames; 0: the model's clip, and about half of it.
        section_frames: of multidiffusion, sampled at once.

    Raises:
        UserError: a value makes no sense.
    """

    seed: int | None = None
    num_steps: int | None = None
    passes: int | None = None
    reference_scale: float | None = None
    audio_scale: float | None = None
    shift: float | None = None
    start_from: str | None = None
    inversion_strength: float | None = None
    inversion_steps: int | None = None
    windows: str | None = None
    window_frames: int | None = None
    window_stride: int | None = None
    section_frames: int | None = None

    def __post_init__(self) -> None:
        if self.seed is not None and self.seed < 0:
            raise UserError(f"The seed is {self.seed}: give a whole number from 0 on.")
        for name, value in self.changes().items():
            if isinstance(value, float) and not math.isfinite(value):
                raise UserError(f"The option {name} is {value}: give a number.")
        for name in ("reference_scale", "audio_scale"):
            if (scale := getattr(self, name)) is not None and scale < 0:
                raise UserError(f"The option {name} is {scale}: give 0 or more; 1 is without guidance.")
        if self.shift is not None and self.shift <= 0:
            raise UserError(f"The shift is {self.shift}: give a positive number; 1 spaces the steps evenly.")
        resolve_sampling(self, DiffusionConfig())

    def changes(self) -> dict[str, Any]:
        """The settings that are asked for, by name: what is not None, without the seed."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if name != "seed" and value is not None}

    @classmethod
    def types(cls) -> dict[str, type]:
        """Name -> int, float or str, for whoever reads options from text."""
        hints = get_type_hints(cls)
        return {field.name: (*get_args(hints[field.name]), hints[field.name])[0] for field in fields(cls)}


def resolve_sampling(options: SamplingOptions, package: DiffusionConfig) -> DiffusionConfig:
    """The sampler settings of a package with what is asked for in their place.

    Raises:
        UserError: a value makes no sense.
    """
    return replace(package, **options.changes())
