"""What the layers of the dubbing transformer put out, and the velocity that it stands for.

With z_s = (1 - s) z_0 + s e at noise level s and v = e - z_0 the three are equivalent: v = (z_s - z_0) / s.

- ``velocity``: the layers' output is v (R). A model whose tokens are hardly wider than a patch of latents
  spends them on carrying the noise through.
- ``sample``: it is z_0, which the noise is no part of (Li & He 2025, "Back to Basics: Let Denoising
  Generative Models Denoise"). Losses and samplers stay those of v.
- ``edit``: it is z_0 less the clip that is edited: the reference in the second stage, the masked clip that
  the first one fills (gap G). A model that has learnt nothing gives that clip back.

The last two also see z_s otherwise: scaled to the best linear guess at z_0, which at s = 1 is nothing. Fed
with the noise itself, a small model learns late to leave it out of what it puts out.
"""

from __future__ import annotations

import torch

VELOCITY, SAMPLE, EDIT = PREDICTIONS = ("velocity", "sample", "edit")

LEAST_SIGMA = 0.05
"""Errors of z_0 count as many times in v as 1 / s says; from here on (downwards) no more."""


def seen_latents(
    prediction: str,
    latents: torch.Tensor,
    timestep: torch.Tensor,
    motion_frames: int = 0,
    motion_mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """What the layers see of z_s (B, C, F, h, w): z_s itself, or E[z_0 | z_s] for a z_0 of unit variance.

    Args:
        timestep: (B,), 1000 s.
        motion_frames: leading latent frames that are clean and stay as they are,
        motion_mask: (B,) bool, in these samples; None: in all.
    """
    if prediction == VELOCITY:
        return latents
    sigma = timestep / 1000
    gain = (1 - sigma) / ((1 - sigma).square() + sigma.square())
    gains = gain[:, None].repeat(1, latents.shape[2])
    if motion_frames:
        clean = torch.ones_like(gain, dtype=torch.bool) if motion_mask is None else motion_mask
        gains[:, :motion_frames] = torch.where(clean[:, None], 1.0, gains[:, :motion_frames])
    return latents * gains[:, None, :, None, None].to(latents.dtype)


def as_velocity(
    prediction: str,
    output: torch.Tensor,
    latents: torch.Tensor,
    timestep: torch.Tensor,
    edited: torch.Tensor | None,
) -> torch.Tensor:
    """The velocity (B, C, F, h, w) that the layers' ``output`` of that shape stands for.

    Args:
        latents: z_s.
        timestep: (B,), 1000 s.
        edited: (B, C, F, h, w) clean latents of the clip that an edit changes.
    """
    if prediction == VELOCITY:
        return output
    # In the precision of the latents: the difference of two close numbers is divided by a small one, and
    # where nothing is edited nothing shall change.
    clean = output.to(latents.dtype)
    if prediction == EDIT:
        assert edited is not None
        clean = clean + edited.to(latents.dtype)
    sigma = (timestep / 1000).clamp_min(LEAST_SIGMA).view(-1, 1, 1, 1, 1)
    return (latents - clean) / sigma.to(latents.dtype)
