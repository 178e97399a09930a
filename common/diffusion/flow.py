"""Flow matching in one place: noising, targets, timestep density, and the sampler's noise levels.

Convention (docs/notation.md §2): sigma in [0, 1], z_sigma = (1 - sigma) z_0 + sigma e, velocity v = e - z_0;
the model is told 1000 sigma.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

MODEL_TIMESTEPS = 1000.0


@dataclass(frozen=True)
class FlowMatching:
    """``shift`` bends the sampler's noise levels (R), ``timestep_a`` their density in training (P §5)."""

    shift: float = 5.0
    timestep_a: float = 5.0

    def sample_sigma(self, count: int, generator: torch.Generator | None = None) -> torch.Tensor:
        """(count,) float32 on the generator's device: sigma = a u / (1 + (a - 1) u), u = sigmoid(N(0, 1)).

        a > 1 prefers high noise, a < 1 low noise; ``timestep_a`` = 0 means uniform sigma (P, stage 1).
        """
        device = generator.device if generator is not None else None
        if self.timestep_a == 0:
            return torch.rand(count, generator=generator, device=device)
        u = torch.randn(count, generator=generator, device=device).sigmoid()
        return self.timestep_a * u / (1 + (self.timestep_a - 1) * u)

    def sigmas(self, num_steps: int) -> torch.Tensor:
        """(num_steps + 1,) float32 from 1 down to 0: shift s / (1 + (shift - 1) s) of an even grid s (R)."""
        return self.shifted(torch.linspace(1, 0, num_steps + 1))

    def shifted(self, s: torch.Tensor) -> torch.Tensor:
        """Noise levels ``s`` in [0, 1], bent as the sampler's are."""
        return self.shift * s / (1 + (self.shift - 1) * s)

    @staticmethod
    def model_timestep(sigma: torch.Tensor) -> torch.Tensor:
        """What the model is told for noise level ``sigma``."""
        return MODEL_TIMESTEPS * sigma

    @staticmethod
    def add_noise(clean: torch.Tensor, noise: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """z_sigma for latents (B, ...) and sigma (B,)."""
        sigma = _like(sigma, clean)
        return (1 - sigma) * clean + sigma * noise

    @staticmethod
    def velocity_target(clean: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """v = e - z_0."""
        return noise - clean

    @staticmethod
    def estimate_clean(noisy: torch.Tensor, velocity: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """z_0 implied by a velocity predicted at z_sigma: z_sigma - sigma v."""
        return noisy - _like(sigma, noisy) * velocity

    @staticmethod
    def estimate_clean_capped(
        clean: torch.Tensor,
        target: torch.Tensor,
        velocity: torch.Tensor,
        sigma: torch.Tensor,
        cap: float = 0.6,
    ) -> torch.Tensor:
        """z_0 + (v - v_hat) min(sigma, cap): the estimate that losses on decoded frames look at (P §5).

        Equal to :meth:`estimate_clean` below ``cap``; above it the error of one velocity would be scaled
        so much that the decoder gets latents unlike those of its training.
        """
        return clean + (target - velocity) * _like(sigma, clean).clamp(max=cap)


def _like(sigma: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
    return sigma.to(latents).view(-1, *[1] * (latents.ndim - 1))
