"""Losses without reduction over the batch."""

from __future__ import annotations

import torch
from torch import Tensor

from common.data.batch import DubBatch
from common.errors import UserError


def region_weights(face_mask: Tensor, lip_mask: Tensor, face_weight: float, lip_weight: float) -> Tensor:
    """1 + face_weight * M_face + lip_weight * M_lip (P, docs/notation.md §3: .3 and .3).

    Masks (B, F, h, w) of 0 and 1 on the latent grid -> (B, 1, F, h, w).
    """
    return (1.0 + face_weight * face_mask + lip_weight * lip_mask).unsqueeze(1)


def weighted_flow_loss(velocity: Tensor, target: Tensor, weights: Tensor, clean_frames: Tensor) -> Tensor:
    """Mean weighted squared error of each sample over the latent frames that it has to predict.

    Args:
        velocity, target: (B, C, F, h, w).
        weights: (B, 1, F, h, w).
        clean_frames: (B,) leading latent frames that were given clean (motion frames): no loss there.

    Returns:
        (B,) float32.
    """
    error = (velocity.float() - target.float()).square() * weights
    frames = torch.arange(target.shape[2], device=target.device)
    predicted = (frames >= clean_frames[:, None]).to(error.dtype)  # (B, F)
    per_frame = error.mean(dim=(1, 3, 4))
    return (per_frame * predicted).sum(dim=1) / predicted.sum(dim=1)


def masked_flow_loss(velocity: Tensor, target: Tensor, mask: Tensor, clean_frames: Tensor) -> Tensor:
    """Squared error within a mask, over its area (EdiDub, equation 1): large and small faces count alike.

    Args:
        velocity, target: (B, C, F, h, w).
        mask: (B, F, h, w), 0 to 1.
        clean_frames: (B,) leading latent frames that were given clean: no loss there.

    Returns:
        (B,) float32; 0 where nothing is masked.
    """
    frames = torch.arange(target.shape[2], device=target.device)
    inside = mask.float() * (frames >= clean_frames[:, None]).float()[:, :, None, None]
    error = (velocity.float() - target.float()).square().mean(dim=1) * inside
    return error.sum(dim=(1, 2, 3)) / inside.sum(dim=(1, 2, 3)).clamp(min=1e-6)


def loss_mask(batch: DubBatch, region: str) -> Tensor:
    """(B, F, h, w) of 0 to 1, for "lower_face" or "lips" of ``train.loss_region``.

    Raises:
        UserError: the samples have no such mask.
    """
    mask = batch.lip_mask if region == "lips" else batch.lower_face_mask
    if mask is None:
        raise UserError(
            f"train.loss_region is {region}, but the samples of data.shards have no {region}_mask: pack them "
            "again, or use train.loss_region=lips."
        )
    return mask


def noise_weights(sigma: Tensor, loss_of: str) -> Tensor:
    """(B,) factors of the flow loss at noise levels sigma (B,).

    "velocity": 1 (P). "sample": sigma^2, since v_hat - v = (z_0 - z_0_hat) / sigma: errors of the clean
    clip count alike at all levels. Small models need that: low sigma, where little is left to be learnt,
    would else make up most of a loss on v.
    """
    return torch.ones_like(sigma) if loss_of == "velocity" else sigma.square()


def with_gradient(values: Tensor, sample: Tensor, gradient: Tensor) -> Tensor:
    """(B,) ``values``, whose derivative by ``sample`` (B, ...) is ``gradient``."""
    moved = (sample * gradient).flatten(1).sum(dim=1)
    return values + moved - moved.detach()
