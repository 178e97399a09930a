"""The ``diffusion`` section: the sampler, and the density of noise levels in training."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from common.checks import at_least, clip_length, multiple_of, one_of, share
from common.geometry import TEMPORAL_STRIDE


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
    windows: str = "motion_latents"  # of long clips | "multidiffusion": common/diffusion/multidiffusion.py
    window_frames: int = 0  # of one window of multidiffusion; 0: geometry.clip_frames
    window_stride: int = 0  # frames from one window to the next; 0: about half of one
    section_frames: int = 121  # of multidiffusion, sampled at once
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
        one_of("diffusion.windows", self.windows, ("motion_latents", "multidiffusion"))
        if self.window_frames:
            clip_length("diffusion.window_frames", self.window_frames, TEMPORAL_STRIDE + 1)
        at_least("diffusion.window_stride", self.window_stride, 0)
        multiple_of("diffusion.window_stride", self.window_stride, "a latent frame", TEMPORAL_STRIDE)
        clip_length("diffusion.section_frames", self.section_frames)
        at_least("diffusion.timestep_a", self.timestep_a, 0)

    @property
    def inverts(self) -> bool:
        """Whether sampling starts from the inverted source."""
        return self.start_from == "inversion"

    @property
    def averages_windows(self) -> bool:
        """Whether long clips are sampled in sections of windows that overlap."""
        return self.windows == "multidiffusion"

    def identity(self) -> dict[str, Any]:
        """All fields, for fingerprints of what was sampled; of those that some results are older than, only
        what is not the default."""
        usual = {item.name: item.default for item in fields(self)}
        return {
            name: value
            for name, value in asdict(self).items()
            if name not in _YOUNGER or value != usual[name]
        }


_YOUNGER = (
    *("start_from", "inversion_strength", "inversion_steps"),
    *("windows", "window_frames", "window_stride", "section_frames"),
)
