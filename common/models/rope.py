"""Rotary positions of the joint sequence [reference | target] (R; xdub.md §2)."""

from __future__ import annotations

from functools import lru_cache

import torch

THETA = 10000.0


@lru_cache(maxsize=32)
def rotary_table(
    head_dim: int,
    target_grid: tuple[int, int, int],
    reference_frames: int,
    layout: str,
    device: torch.device,
) -> torch.Tensor:
    """Unit complex numbers that turn the channel pairs of a token: (1, tokens, 1, head_dim / 2) complex64.

    ``target_grid`` is (frames, height, width) in tokens; the reference has the same height and width. With
    ``layout`` "spatial" reference token (i, j, k) stands at (i, j + height, k + width): the same time, one
    whole grid away in both space axes (R). With "temporal" the reference frames are still images that come
    first on the frame axis: reference (i, j, k), target (i + reference_frames, j, k) (P, stage 1).

    Angles are computed in float64. Complex products are the fastest way to rotate adjacent pairs on a CPU:
    forward and backward .4 ms, against 4.4 ms for strided real arithmetic (4 x 504 tokens, 256 channels).
    """
    _, height, width = target_grid
    shift_time = reference_frames if layout == "temporal" else 0
    shift_space = (height, width) if layout == "spatial" else (0, 0)
    parts = []
    if reference_frames:
        parts.append(_grid_angles(head_dim, (reference_frames, height, width), (0, *shift_space)))
    parts.append(_grid_angles(head_dim, target_grid, (shift_time, 0, 0)))
    angles = torch.cat(parts)
    return torch.polar(torch.ones_like(angles), angles).to(torch.complex64)[None, :, None].to(device)


def apply_rotary(x: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """Rotate queries or keys (batch, tokens, heads, head_dim) by ``table``; the dtype is kept."""
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * table).flatten(-2).to(x.dtype)


def _grid_angles(head_dim: int, grid: tuple[int, int, int], origin: tuple[int, int, int]) -> torch.Tensor:
    """Angles (tokens, head_dim / 2) float64. Both space axes own a third of the channels, time the rest."""
    space = 2 * (head_dim // 6)
    shares = (head_dim - 2 * space, space, space)
    angles = []
    for axis, (share, size, start) in enumerate(zip(shares, grid, origin, strict=True)):
        frequencies = THETA ** -(torch.arange(0, share, 2, dtype=torch.float64) / share)
        along = torch.outer(torch.arange(start, start + size, dtype=torch.float64), frequencies)
        shape = [1, 1, 1, along.shape[1]]
        shape[axis] = size
        angles.append(along.view(shape).expand(*grid, -1))
    return torch.cat(angles, dim=-1).flatten(0, 2)
