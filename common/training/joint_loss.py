"""The loss of a joint transformer that learns to dub."""

from __future__ import annotations

import torch
from torch import Tensor

FACE_THRESHOLD = 0.1
REST_WEIGHT = 0.1


def joint_weights(face_mask: Tensor, given: Tensor, rest: float = REST_WEIGHT) -> Tensor:
    """(B, N): 1 in the face, ``rest`` elsewhere, 0 at given tokens (JUST-DUB-IT).

    Args:
        face_mask: (B, N), the share of a token's pixels that belongs to the face.
        given: (B, N), true where the token was given clean.
        rest: weight outside the face.
    """
    return torch.where(face_mask > FACE_THRESHOLD, 1.0, rest).masked_fill(given, 0.0)


def masked_velocity_loss(velocity: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean of the squared error: velocity, target (B, N, C), weights (B, N) -> (B,).

    A sample without any weight has the loss 0.
    """
    error = (velocity.float() - target.float()).square().mean(dim=2) * weights
    return error.sum(dim=1) / weights.sum(dim=1).clamp_min(1e-6)
