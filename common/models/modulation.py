"""Adaptive layer norm for sequences made of a few contiguous segments.

All tokens of a segment share one timestep, so one row of (shift, scale, gate) per sample and segment is
enough; nothing is ever materialised per token (the public release holds (batch, tokens, 6, dim)).

    tokens      [ reference | motion | rest of the target ]
    timestep          0         0               t
    segments    [        clean       |      noisy         ]
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F


@dataclass(frozen=True)
class Segments:
    """Lengths in tokens of the contiguous segments and, for each, its rows (1 or batch, groups, dim).

    A first dimension of 1 means that all samples share the row.
    """

    lengths: tuple[int, ...]
    rows: tuple[torch.Tensor, ...]

    def plus(self, table: torch.Tensor) -> Segments:
        """The same segments with a learnt table (1, groups, dim) added to every row, in float32."""
        return Segments(self.lengths, tuple(row.float() + table.float() for row in self.rows))

    def after(self, tokens: int) -> Segments:
        """The segments without the first ``tokens`` tokens."""
        lengths, rows, skipped = [], [], tokens
        for length, row in zip(self.lengths, self.rows, strict=True):
            kept = length - min(length, skipped)
            skipped -= length - kept
            if kept:
                lengths.append(kept)
                rows.append(row)
        return Segments(tuple(lengths), tuple(rows))


def make_segments(
    lengths: tuple[int, int, int], rows: torch.Tensor, motion_mask: torch.Tensor | None
) -> Segments:
    """Segments of (reference, motion, rest) tokens from rows (1 + B, groups, D), row 0 being timestep 0."""
    reference, motion, rest = lengths
    clean, noisy = rows[:1], rows[1:]
    if motion_mask is None:
        parts = [(reference + motion, clean), (rest, noisy)]
    else:
        parts = [
            (reference, clean),
            (motion, torch.where(motion_mask[:, None, None], clean, noisy)),
            (rest, noisy),
        ]
    parts = [part for part in parts if part[0]]
    return Segments(tuple(length for length, _ in parts), tuple(row for _, row in parts))


def modulated_norm(x: torch.Tensor, segments: Segments, shift: int, scale: int, eps: float) -> torch.Tensor:
    """layer_norm(x) * (1 + scale) + shift, where ``shift`` and ``scale`` are group indices into the rows.

    x is (batch, tokens, dim). The result has the dtype that the following linear layers compute in, so that
    autocast need not cast it once per projection.
    """
    dtype = compute_dtype(x)
    pieces = []
    for piece, row in zip(x.split(segments.lengths, dim=1), segments.rows, strict=True):
        gain, bias = (1 + row[:, scale]).to(x.dtype), row[:, shift].to(x.dtype)
        if gain.shape[0] == 1:  # one row for the whole batch is the kernel's own affine form
            pieces.append(F.layer_norm(piece, (x.shape[-1],), gain[0], bias[0], eps).to(dtype))
        else:
            normed = F.layer_norm(piece, (x.shape[-1],), None, None, eps)
            pieces.append(torch.addcmul(bias[:, None], normed, gain[:, None]).to(dtype))
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=1)


def gated_add(x: torch.Tensor, y: torch.Tensor, segments: Segments, gate: int) -> torch.Tensor:
    """x + gate * y, with ``gate`` a group index into the rows; the dtype of x is kept, x and y as well."""
    pieces = []
    out = torch.empty_like(x) if works_in_place() else None  # spares a copy of the whole
    places = [None] * len(segments.lengths) if out is None else out.split(segments.lengths, 1)
    both = zip(x.split(segments.lengths, 1), y.split(segments.lengths, 1), segments.rows, places, strict=True)
    for piece, update, row, place in both:
        gates = row[:, gate, None].to(x.dtype)
        pieces.append(torch.addcmul(piece, update.to(x.dtype), gates, out=place))
    if out is not None:
        return out
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=1)


def accumulate(x: torch.Tensor, update: torch.Tensor) -> torch.Tensor:
    """x + update; in the memory of x where :func:`works_in_place`."""
    return x.add_(update) if works_in_place() else x + update


def works_in_place() -> bool:
    """Whether results may be written over values that nobody needs any more.

    Not where a gradient is asked for, and not where a compiler arranges the memory anyway.
    """
    return not (torch.is_grad_enabled() or torch.compiler.is_compiling())


def compute_dtype(x: torch.Tensor) -> torch.dtype:
    """The dtype in which linear layers will see ``x``: autocast's where it is on, else its own."""
    device = x.device.type
    narrow = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return torch.get_autocast_dtype(device) if narrow else x.dtype


def timestep_sinusoid(timestep: torch.Tensor, channels: int) -> torch.Tensor:
    """Cosines, then sines, of timestep (B,) at channels / 2 frequencies: (B, channels), in float64 (R)."""
    precise = torch.float32 if timestep.device.type == "mps" else torch.float64
    half = channels // 2
    frequencies = 10000.0 ** -(torch.arange(half, dtype=precise, device=timestep.device) / half)
    angles = torch.outer(timestep.to(precise), frequencies)
    return torch.cat((angles.cos(), angles.sin()), dim=1).float()
