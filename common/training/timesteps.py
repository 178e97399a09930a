"""Which noise levels a phase is trained on, for ``--show-timesteps``, before any training."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch

from common.diffusion.flow import FlowMatching

DRAWS = 200_000
_BINS = 20
_WIDTH = 50


def show_timesteps(
    name: str, flow: FlowMatching, num_steps: int, active_range: Sequence[float] = (0.0, 1.0)
) -> str:
    """Histogram of t as training draws it, its quartiles, and what of it the sampler's steps meet.

    Args:
        name: of the phase.
        flow: its density of t and the sampler's shift.
        num_steps: of the sampler.
        active_range: where the phase's adapter acts at inference.
    """
    t = flow.sample_sigma(DRAWS, torch.Generator().manual_seed(0))
    low, high = active_range
    quartiles = torch.quantile(t, torch.tensor([0.25, 0.5, 0.75])).tolist()
    density = f"a = {flow.timestep_a:g}" if flow.timestep_a else "uniform"
    lines = [
        f"noise levels t of the {name} phase ({density}, {DRAWS:,} draws)",
        *_histogram(t),
        f"mean {t.mean():.3f}, quartiles " + " ".join(f"{value:.3f}" for value in quartiles),
    ]
    levels = flow.sigmas(num_steps).tolist()
    acting = [level for level in levels[:-1] if low <= level <= high]
    inside = ((t >= low) & (t <= high)).float().mean()
    lines += [
        f"active range [{low:g}, {high:g}]: {inside:.1%} of the draws, {len(acting)} of {num_steps} sampler "
        "steps",
        f"sampler steps (shift {flow.shift:g}); share: draws between a step and the next",
    ]
    for step, (start, end) in enumerate(pairwise(levels)):
        share = ((t > end) & (t <= start)).float().mean()
        acts = "acts" if low <= start <= high else ""
        lines.append(f"  {step + 1:3d}  {start:.3f} -> {end:.3f}  {share:6.1%}  {acts}".rstrip())
    return "\n".join(lines)


def _histogram(t: torch.Tensor) -> list[str]:
    shares = torch.histc(t, _BINS, 0.0, 1.0) / len(t)
    scale = _WIDTH / float(shares.max())
    return [
        f"  {i / _BINS:.2f}-{(i + 1) / _BINS:.2f}  {share:6.1%}  {'#' * round(share * scale)}".rstrip()
        for i, share in enumerate(shares.tolist())
    ]
