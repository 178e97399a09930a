"""The ``diffusion`` section: the sampler, and the density of noise levels in training."""

from __future__ import annotations

from dataclasses import dataclass

from common.checks import at_least, one_of, share


@dataclass
class DiffusionConfig:
    """Sampler defaults (R) and the timestep density of training (P §5)."""

    shift: float = 5.0
    num_steps: int = 30
    passes: int = 1  # stage 2: so often is a clip dubbed, from what the pass before made of it
    reference_scale: float = 2.0
    audio_scale: float = 7.0
    dynamic_schedule: bool = True
    audio_floor: float = 0.0  # least factor of the audio scale in the dynamic schedule
    start_from: str = "noise"  # | "inversion": stage 2, of the source: common/diffusion/inversion.py
    inversion_strength: float = 0.5  # 0: as from noise; 1: the plain differential equation
    inversion_steps: int = 0  # 0: num_steps
    border: int = 1  # outer latent ring copied from the source at every step
    border_at_end: bool = False  # after the last step alone
    timestep_a: float = 5.0  # t = a u / (1 + (a - 1) u); 0 means uniform t

    def __post_init__(self) -> None:
        at_least("diffusion.num_steps", self.num_steps, 1)
        at_least("diffusion.passes", self.passes, 1)
        at_least("diffusion.audio_floor", self.audio_floor, 0)
        one_of("diffusion.start_from", self.start_from, ("noise", "inversion"))
        share("diffusion.inversion_strength", self.inversion_strength)
        at_least("diffusion.inversion_steps", self.inversion_steps, 0)
        at_least("diffusion.timestep_a", self.timestep_a, 0)

    @property
    def inverts(self) -> bool:
        """Whether sampling starts from the inverted source."""
        return self.start_from == "inversion"
