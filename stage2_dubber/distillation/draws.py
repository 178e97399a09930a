"""What is random in a step of the distillation: pure functions of the seed, the step and the position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from common.diffusion.flow import FlowMatching
from common.training.draws import Draw
from stage2_dubber.distillation.config import DistillConfig

WARMUP, FAKE, STUDENT = "warmup", "fake", "student"


def step_kind(config: DistillConfig, step: int) -> str:
    """What optimiser step ``step`` (from 0) does: warm-up, the auxiliary networks alone, then rounds
    of these that a step of the student ends."""
    if step < config.warmup_steps:
        return WARMUP
    if not config.has_auxiliary:
        return STUDENT
    of_rounds = step - config.warmup_steps - config.auxiliary_steps
    if of_rounds < 0:
        return FAKE
    return STUDENT if of_rounds % (config.fake_steps + 1) == config.fake_steps else FAKE


@dataclass(frozen=True)
class StepPlan:
    """What all samples of one optimiser step share.

    They share it so that all processes make equally many model calls: none waits for a longer rollout.
    """

    kind: str
    num_steps: int
    """Of the student's sampler."""
    stop: int
    """The sampler step, from 0, whose output is looked at."""
    motion: bool
    """Whether the window goes on from an earlier one."""
    passes_before: int = 0
    """How often the student has dubbed the reference already."""


def plan_step(
    draw: Draw, config: DistillConfig, motion_probability: float, seed: int, passes: int = 1
) -> StepPlan:
    """The plan of the optimiser step that ``draw`` belongs to; ``passes``: of the student's sampler."""
    generator = replace(draw, number=0, position=0).generator(seed, "distillation")
    which, stop, moved, again = torch.rand(4, generator=generator, dtype=torch.float64).tolist()
    num_steps = config.steps[int(which * len(config.steps))]
    return StepPlan(
        step_kind(config, draw.step),
        num_steps,
        int(stop * num_steps),
        moved < motion_probability,
        int(again * passes),
    )


@dataclass(frozen=True)
class RowDraws:
    """What each of B samples has for itself: noise to start from, and noise and its level for the scoring."""

    noise: Tensor
    """(B, C, F, h, w)."""
    score_noise: Tensor
    """(B, C, F, h, w)."""
    score_sigma: Tensor
    """(B,)."""


def draw_rows(
    draws: Sequence[Draw], config: DistillConfig, flow: FlowMatching, like: Tensor, seed: int
) -> RowDraws:
    """Draws for samples of latents ``like`` (B, C, F, h, w), on its device."""
    generators = [draw.generator(seed, "student") for draw in draws]
    noise, score_noise = (
        torch.stack([torch.randn(like.shape[1:], generator=one) for one in generators]).to(like)
        for _ in range(2)
    )
    low, high = config.score_range
    even = torch.cat([torch.rand(1, generator=one) for one in generators])
    return RowDraws(noise, score_noise, flow.shifted(low + (high - low) * even).to(like))
