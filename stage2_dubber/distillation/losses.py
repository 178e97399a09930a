"""Distribution matching: the gradient that pulls a student's samples towards the teacher's distribution.

Yin et al. 2024, "One-step diffusion with distribution matching distillation" (eq. 7, 8) and "Improved
distribution matching distillation for fast image synthesis".
"""

from __future__ import annotations

import torch
from torch import Tensor

from common.training.losses import weighted_flow_loss

# A sample that the teacher would leave as it is has no direction worth scaling up.
_SMALLEST = 1e-4


def matching_gradient(sample: Tensor, real: Tensor, fake: Tensor, generated: Tensor) -> Tensor:
    """(fake - real) / mean |sample - real| of each sample, (B, C, F, h, w), zero where nothing is generated.

    Args:
        sample: (B, C, F, h, w) clean latents that the student made.
        real, fake: what the teacher and the fake score take the same noised sample for.
        generated: (F, h, w) bool, the cells that the student makes. At least one.
    """
    mask = generated.to(sample.dtype)
    distance = ((sample - real).abs() * mask).sum(dim=(1, 2, 3, 4)) / (mask.sum() * sample.shape[1])
    return (fake - real) * mask / distance.clamp(min=_SMALLEST).view(-1, 1, 1, 1, 1)


def matching_loss(sample: Tensor, gradient: Tensor, weights: Tensor, clean_frames: Tensor) -> Tensor:
    """(B,) losses whose derivative by ``sample`` is ``gradient``, up to weights and the mean over cells.

    ``weights`` (B, 1, F, h, w), ``clean_frames`` (B,): as in ``weighted_flow_loss``.
    """
    return 0.5 * weighted_flow_loss(sample, (sample - gradient).detach(), weights, clean_frames)


def root_mean_square(values: Tensor, generated: Tensor) -> Tensor:
    """(B,) over the generated cells of (B, C, F, h, w)."""
    cells = torch.masked_select(values, generated).view(len(values), -1)
    return cells.square().mean(dim=1).sqrt()
