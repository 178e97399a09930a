"""What the layers of the dubbing transformer put out, and the velocity that it stands for.

With z_t = (1 - t) z_0 + t e and v = e - z_0 the three say the same, for v = (z_t - z_0) / t:

- ``velocity``: the layers' output is v (R). A model whose tokens are hardly wider than a patch of latents
  spends them on carrying the noise through.
- ``sample``: it is z_0, which the noise is no part of (Li & He 2025, "Back to Basics: Let Denoising
  Generative Models Denoise"). Losses and samplers stay those of v.
- ``edit``: it is z_0 less the source: the clip that the second stage edits, the masked clip that the first
  one fills (gap G). A model that has learnt nothing gives the source back.
"""

from __future__ import annotations

import torch

VELOCITY, SAMPLE, EDIT = PREDICTIONS = ("velocity", "sample", "edit")

LEAST_TIME = 0.05
"""Errors of z_0 count as many times in v as 1 / t says; from here on (downwards) no more."""


def as_velocity(
    prediction: str,
    output: torch.Tensor,
    latents: torch.Tensor,
    timestep: torch.Tensor,
    source: torch.Tensor | None,
) -> torch.Tensor:
    """The velocity (B, C, F, h, w) that the layers' ``output`` of that shape stands for.

    Args:
        latents: z_t.
        timestep: (B,), 1000 t.
        source: (B, C, F, h, w) clean latents; for an edit.
    """
    if prediction == VELOCITY:
        return output
    if prediction == EDIT:
        assert source is not None
        output = output + source.to(output.dtype)
    time = (timestep / 1000).clamp_min(LEAST_TIME).view(-1, 1, 1, 1, 1)
    # In the precision of the latents: the difference of two close numbers is divided by a small one.
    return (latents - output.to(latents.dtype)) / time.to(latents.dtype)
