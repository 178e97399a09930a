"""The Euler sampler of both stages: guidance, border replacement, motion latents, adapters by noise level."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch

from common.diffusion.border import Border, ring_mask
from common.diffusion.config import DiffusionConfig
from common.diffusion.flow import FlowMatching
from common.diffusion.guidance import CONDITIONAL, Branch, Guidance, build_guidance
from common.models.conditions import ModelConditions
from common.models.speed import SpeedConfig
from common.models.step_cache import forget_steps
from common.progress import CountCallback

Model = Callable[..., torch.Tensor]  # called like DubbingTransformer
StepHook = Callable[[float], None]


@dataclass(frozen=True)
class EulerSampler:
    """From noise to latents in ``num_steps`` Euler steps, ``passes`` times over.

    passes: a small editor moves lips a part of the way; a second pass takes what the first has made for its
    reference, and goes on from there. Only where reference and target are aligned, stage 2.
    border: width of the latent ring that follows ``reference`` (0: none; only where reference and target are
    aligned, stage 2); with ``border_at_end`` it is put in place after the last step alone. batch_branches:
    evaluate all guidance branches in one batch (more memory, fewer calls). before_step: called with sigma
    before every step, for adapters that act in a range of it.
    """

    flow: FlowMatching
    guidance: Guidance
    num_steps: int = 30
    border: int = 0
    border_at_end: bool = False
    passes: int = 1
    batch_branches: bool = False
    before_step: StepHook | None = None

    @torch.no_grad()
    def sample(
        self,
        model: Model,
        noise: torch.Tensor,
        conditions: ModelConditions,
        progress: CountCallback | None = None,
    ) -> torch.Tensor:
        """Latents (B, C, F, h, w) float32 from ``noise`` of that shape; a pure function of its arguments.

        Step caches of the model start anew here, and whenever the branches that guidance needs change.

        ``progress`` is called with (steps done, steps in all) after every step.

        Raises:
            ValueError: more than one pass, or a border, where reference and target are not aligned.
        """
        noise = noise.float()
        if self.passes > 1 and (conditions.reference is None or conditions.reference.shape != noise.shape):
            raise ValueError("A second pass needs a reference that is aligned with the target.")
        for number in range(self.passes):
            tell = _later(progress, number * self.num_steps, self.all_steps)
            latents = self.run(model, noise, noise, conditions, 0, self.num_steps, tell)
            latents = self.finished(latents, noise, conditions)
            conditions = replace(conditions, reference=latents)
        return latents

    @property
    def all_steps(self) -> int:
        """Of all passes."""
        return self.passes * self.num_steps

    @torch.no_grad()
    def run(
        self,
        model: Model,
        latents: torch.Tensor,
        noise: torch.Tensor,
        conditions: ModelConditions,
        first: int,
        last: int,
        progress: CountCallback | None = None,
    ) -> torch.Tensor:
        """Steps ``first`` to ``last`` - 1 of :meth:`sample`, which started from ``noise``.

        Takes latents at the noise level of step ``first`` and returns those of step ``last``; given frames
        and the border are put in place when the next step is :meth:`shown` or the clip is :meth:`finished`.
        """
        sigmas = self.flow.sigmas(self.num_steps).tolist()
        branches: list[Branch] = []
        for step in range(first, last):
            sigma, following = sigmas[step], sigmas[step + 1]
            if list(self.guidance.weights(sigma)) != branches:
                branches = list(self.guidance.weights(sigma))
                forget_steps(model)
            if self.before_step is not None:
                self.before_step(sigma)
            latents = self.shown(latents, sigma, noise, conditions)
            latents = latents + (following - sigma) * self.velocity(model, latents, sigma, conditions)
            if progress is not None:
                progress(step + 1, self.num_steps)
        return latents

    def shown(
        self, latents: torch.Tensor, sigma: float, noise: torch.Tensor, conditions: ModelConditions
    ) -> torch.Tensor:
        """What the model is given at ``sigma``: with clean motion latents and the renoised border."""
        border, latents = self._border(noise, conditions), _with_motion(latents, conditions)
        return latents if border is None or self.border_at_end else border.renoise(latents, sigma)

    def finished(
        self, latents: torch.Tensor, noise: torch.Tensor, conditions: ModelConditions
    ) -> torch.Tensor:
        """Clean latents with the motion latents and the reference's border in place."""
        border, latents = self._border(noise, conditions), _with_motion(latents, conditions)
        return latents if border is None else border.restore(latents)

    def generated(self, latents: torch.Tensor, conditions: ModelConditions) -> torch.Tensor:
        """(F, h, w) bool: the cells that are the model's own, neither motion latents nor border."""
        mask = ~ring_mask(latents.shape[2:], self._ring(conditions))
        mask[: conditions.motion_frames] = False
        return mask.to(latents.device)

    def velocity(
        self, model: Model, latents: torch.Tensor, sigma: float, conditions: ModelConditions
    ) -> torch.Tensor:
        """Guided velocity (B, C, F, h, w) float32 at noise level ``sigma``; no branch of weight 0 is run."""
        weights = self.guidance.weights(sigma)
        seen = [
            conditions.without(reference=not branch.reference, audio=not branch.audio) for branch in weights
        ]
        if self.batch_branches:
            joined = torch.cat([latents] * len(seen))
            output = _evaluate(model, joined, sigma, ModelConditions.concatenate(seen), str([*weights]))
            outputs = output.float().chunk(len(seen))
        else:
            outputs = tuple(
                _evaluate(model, latents, sigma, one, str(branch)).float()
                for branch, one in zip(weights, seen, strict=True)
            )
        return sum(
            (weight * output for weight, output in zip(weights.values(), outputs, strict=True)),
            start=torch.zeros_like(latents),
        )

    @torch.no_grad()
    def conditional(
        self, model: Model, latents: torch.Tensor, sigma: float, conditions: ModelConditions
    ) -> torch.Tensor:
        """Velocity (B, C, F, h, w) float32 at ``sigma`` of the branch that sees all conditions, unguided."""
        return _evaluate(model, latents, sigma, conditions, str(CONDITIONAL)).float()

    def _border(self, noise: torch.Tensor, conditions: ModelConditions) -> Border | None:
        width = self._ring(conditions)
        if width == 0:
            return None
        reference = conditions.reference
        if reference is None or reference.shape != noise.shape:
            raise ValueError("Border replacement needs a reference that is aligned with the target.")
        return Border(reference.float(), noise, width, first_frame=conditions.motion_frames)

    def _ring(self, conditions: ModelConditions) -> int:
        """Width of the border: a part of a picture has none."""
        return self.border if conditions.offset is None else 0


def build_sampler(config: DiffusionConfig, speed: SpeedConfig | None = None, **changes: Any) -> EulerSampler:
    """The sampler that a ``diffusion`` section describes; ``changes`` are fields of :class:`EulerSampler`.

    Of ``speed`` it follows the guidance interval; ``batch_branches`` is the caller's, who knows the memory.
    """
    flow = FlowMatching(config.shift, config.timestep_a)
    guidance = build_guidance(config, speed)
    sampler = EulerSampler(
        flow, guidance, config.num_steps, config.border, config.border_at_end, config.passes
    )
    return replace(sampler, **changes)


def _later(progress: CountCallback | None, before: int, total: int) -> CountCallback | None:
    """Reports the steps of one pass as steps of all passes."""
    return None if progress is None else lambda done, _: progress(before + done, total)


def _with_motion(latents: torch.Tensor, conditions: ModelConditions) -> torch.Tensor:
    if conditions.motion is None:
        return latents
    return torch.cat((conditions.motion.to(latents), latents[:, :, conditions.motion_frames :]), dim=2)


def _evaluate(
    model: Any, latents: torch.Tensor, sigma: float, conditions: ModelConditions, cache: str
) -> torch.Tensor:
    """One call of the model. Step caches of diffusers keep their states apart by the name of the branch."""
    kept: AbstractContextManager[Any] = nullcontext()
    if getattr(model, "is_cache_enabled", False):
        kept = model.cache_context(cache)
    timestep = FlowMatching.model_timestep(latents.new_full((latents.shape[0],), sigma))
    with kept:
        return model(latents=latents, timestep=timestep, conditions=conditions)
