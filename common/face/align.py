"""Faces put upright for ArcFace, in torch and with gradients into the pixels.

The same geometry as ``insightface.utils.face_align.norm_crop``: the similarity that carries five points
nearest to the template, sampled bilinearly, black beyond the picture.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from common.face.layout import ARCFACE_POINTS

TEMPLATE_SIZE = 112


def five_points(landmarks: Tensor) -> Tensor:
    """(M, 68, 2 or 3) -> (M, 5, 2): eyes, nose tip, mouth corners."""
    return torch.stack([landmarks[:, list(part), :2].mean(dim=1) for part in ARCFACE_POINTS], dim=1)


def template_similarity(points: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The similarity p -> a p + b, in complex numbers x + iy, from pictures to the template of ``size`` px.

    Least squares over the five ``points`` (M, 5, 2): a = sum conj(p') q' / sum |p'|^2 with p', q' the points
    and their templates about their means (Umeyama 1991 in two dimensions). Returns a, b: (M,) complex64.
    """
    from insightface.utils.face_align import arcface_dst

    template = torch.as_tensor(arcface_dst, device=points.device) * (size / TEMPLATE_SIZE)
    p, q = torch.view_as_complex(points.contiguous()), torch.view_as_complex(template.contiguous())
    p_mean, q_mean = p.mean(dim=1, keepdim=True), q.mean()
    about = p - p_mean
    a = (about.conj() * (q - q_mean)).sum(dim=1) / about.abs().square().sum(dim=1)
    return a, q_mean - a * p_mean[:, 0]


def align_faces(frames: Tensor, landmarks: Tensor, size: int = TEMPLATE_SIZE) -> Tensor:
    """(M, 3, S, S) in [-1, 1] with landmarks (M, 68, 2 or 3) in pixels -> (M, 3, size, size).

    A crop k times as large as the template is sampled on a grid k times as fine and averaged: its faces fill
    most of it, so that every pixel of the face counts. Up to twice the template's size, k is 1 and nothing is
    averaged.
    """
    fine = max(1, frames.shape[-1] // size)
    a, b = template_similarity(five_points(landmarks), size)
    # Centres of the fine cells, in pixels of the template.
    steps = (torch.arange(size * fine, device=frames.device, dtype=torch.float32) + 0.5) / fine - 0.5
    target = torch.complex(steps[None, :].expand(len(steps), -1), steps[:, None].expand(-1, len(steps)))
    source = torch.view_as_real((target - b[:, None, None]) / a[:, None, None])
    side = torch.tensor([frames.shape[-1], frames.shape[-2]], device=frames.device)
    grid = (2 * source + 1) / side - 1
    # Beyond the picture grid_sample reads 0; black is -1.
    sampled = functional.grid_sample(frames + 1, grid, mode="bilinear", align_corners=False) - 1
    return functional.avg_pool2d(sampled, fine) if fine > 1 else sampled
