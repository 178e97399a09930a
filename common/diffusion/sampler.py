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
from common.diffusion.guidance import Branch, Guidance, build_guidance
from common.models.rope import Place
from common.models.speed import SpeedConfig
from common.models.step_cache import forget_steps

Model = Callable[..., torch.Tensor]  # called like DubbingTransformer
StepHook = Callable[[float], None]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Conditions:
    """What a window is made from (B batch; shapes as in DubbingTransformer.forward).

    reference: (B, C, Fr, h, w) clean latents. audio_features: (B, F, W, A). context: (B or 1, L, text_dim) if
    the model has text attention. condition: (B, K, F, h, w) extra channels of the target (stage 1).
    motion: (B, C, m, h, w) clean latents of the first m target frames, from the window before. place: where
    all this lies if it is a part of a larger picture, which then has no border of its own.
    """

    reference: torch.Tensor | None
    audio_features: torch.Tensor
    context: torch.Tensor | None = None
    condition: torch.Tensor | None = None
    motion: torch.Tensor | None = None
    place: Place | None = None

    @property
    def motion_frames(self) -> int:
        return 0 if self.motion is None else self.motion.shape[2]

    def row(self, index: int) -> Conditions:
        """The conditions of one sample, as a batch of one."""
        own: dict[str, Any] = {
            name: value if name == "context" and _is_shared(value) else value[index : index + 1]
            for name, value in vars(self).items()
            if isinstance(value, torch.Tensor)
        }
        return replace(self, **own)


@dataclass(frozen=True)
class EulerSampler:
    """From noise to latents in ``num_steps`` Euler steps, ``passes`` times over.

    passes: a small editor moves lips a part of the way; a second pass takes what the first has made for its
    reference, and goes on from there. Only where reference and target are aligned, stage 2.
    border: width of the latent ring that follows ``reference`` (0: none; only where reference and target are
    aligned, stage 2). batch_branches: evaluate all guidance branches in one batch (more memory, fewer calls).
    before_step: called with t before every step, for adapters that act in a range of t.
    """

    flow: FlowMatching
    guidance: Guidance
    num_steps: int = 30
    border: int = 0
    passes: int = 1
    batch_branches: bool = False
    before_step: StepHook | None = None

    @torch.no_grad()
    def sample(
        self, model: Model, noise: torch.Tensor, conditions: Conditions, progress: Progress | None = None
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
        conditions: Conditions,
        first: int,
        last: int,
        progress: Progress | None = None,
    ) -> torch.Tensor:
        """Steps ``first`` to ``last`` - 1 of :meth:`sample`, which started from ``noise``.

        Takes latents at the noise level of step ``first`` and returns those of step ``last``; given frames
        and the border are put in place when the next step is :meth:`shown` or the clip is :meth:`finished`.
        """
        sigmas = self.flow.sigmas(self.num_steps).tolist()
        branches: list[Branch] = []
        for step in range(first, last):
            t, t_next = sigmas[step], sigmas[step + 1]
            if list(self.guidance.weights(t)) != branches:
                branches = list(self.guidance.weights(t))
                forget_steps(model)
            if self.before_step is not None:
                self.before_step(t)
            latents = self.shown(latents, t, noise, conditions)
            latents = latents + (t_next - t) * self.velocity(model, latents, t, conditions)
            if progress is not None:
                progress(step + 1, self.num_steps)
        return latents

    def shown(
        self, latents: torch.Tensor, t: float, noise: torch.Tensor, conditions: Conditions
    ) -> torch.Tensor:
        """What the model is given at noise level ``t``: with clean motion latents and the renoised border."""
        border, latents = self._border(noise, conditions), _with_motion(latents, conditions)
        return latents if border is None else border.renoise(latents, t)

    def finished(self, latents: torch.Tensor, noise: torch.Tensor, conditions: Conditions) -> torch.Tensor:
        """Clean latents with the motion latents and the source's border in place."""
        border, latents = self._border(noise, conditions), _with_motion(latents, conditions)
        return latents if border is None else border.restore(latents)

    def generated(self, latents: torch.Tensor, conditions: Conditions) -> torch.Tensor:
        """(F, h, w) bool: the cells that are the model's own, neither motion latents nor border."""
        mask = ~ring_mask(latents.shape[2:], self._ring(conditions))
        mask[: conditions.motion_frames] = False
        return mask.to(latents.device)

    def velocity(self, model: Model, latents: torch.Tensor, t: float, conditions: Conditions) -> torch.Tensor:
        """Guided velocity (B, C, F, h, w) float32 at noise level ``t``; branches of weight 0 are not run."""
        weights = self.guidance.weights(t)
        if self.batch_branches:
            arguments = [_arguments(latents, t, conditions, branch) for branch in weights]
            joined = {name: _concatenate([a[name] for a in arguments]) for name in arguments[0]}
            joined["context"] = conditions.context if _is_shared(conditions.context) else joined["context"]
            outputs = _call(model, joined, conditions, str([*weights])).float().chunk(len(weights))
        else:
            outputs = tuple(
                _call(model, _arguments(latents, t, conditions, branch), conditions, str(branch)).float()
                for branch in weights
            )
        return sum(
            (weight * output for weight, output in zip(weights.values(), outputs, strict=True)),
            start=torch.zeros_like(latents),
        )

    def _border(self, noise: torch.Tensor, conditions: Conditions) -> Border | None:
        width = self._ring(conditions)
        if width == 0:
            return None
        reference = conditions.reference
        if reference is None or reference.shape != noise.shape:
            raise ValueError("Border replacement needs a reference that is aligned with the target.")
        return Border(reference.float(), noise, width, first_frame=conditions.motion_frames)

    def _ring(self, conditions: Conditions) -> int:
        """Width of the border: a part of a picture has none."""
        return self.border if conditions.place is None else 0


def build_sampler(config: DiffusionConfig, speed: SpeedConfig | None = None, **changes: Any) -> EulerSampler:
    """The sampler that a ``diffusion`` section describes; ``changes`` are fields of :class:`EulerSampler`.

    Of ``speed`` it follows the guidance interval; ``batch_branches`` is the caller's, who knows the memory.
    """
    flow = FlowMatching(config.shift, config.timestep_a)
    guidance = build_guidance(config, speed)
    sampler = EulerSampler(flow, guidance, config.num_steps, config.border, config.passes)
    return replace(sampler, **changes)


def _later(progress: Progress | None, before: int, total: int) -> Progress | None:
    """``progress`` of one pass told as that of all."""
    return None if progress is None else lambda done, _: progress(before + done, total)


def _with_motion(latents: torch.Tensor, conditions: Conditions) -> torch.Tensor:
    if conditions.motion is None:
        return latents
    return torch.cat((conditions.motion.to(latents), latents[:, :, conditions.motion_frames :]), dim=2)


def _arguments(
    latents: torch.Tensor, t: float, conditions: Conditions, branch: Branch
) -> dict[str, torch.Tensor | None]:
    reference, audio, context = conditions.reference, conditions.audio_features, conditions.context
    if reference is not None and not branch.reference:
        reference = torch.zeros_like(reference)
    return {
        "latents": latents,
        "timestep": FlowMatching.model_timestep(latents.new_full((latents.shape[0],), t)),
        "reference": reference,
        "audio_features": audio if branch.audio else torch.zeros_like(audio),
        "context": context,
        "condition": conditions.condition,
    }


def _concatenate(tensors: list[torch.Tensor | None]) -> torch.Tensor | None:
    present = [tensor for tensor in tensors if tensor is not None]
    return torch.cat(present) if present else None


def _is_shared(context: torch.Tensor | None) -> bool:
    """Whether one context serves the whole batch, whatever its size."""
    return context is not None and context.shape[0] == 1


def _call(
    model: Any, arguments: dict[str, torch.Tensor | None], conditions: Conditions, cache: str
) -> torch.Tensor:
    """One evaluation. Step caches of diffusers keep their states apart by the name of the branch."""
    context: AbstractContextManager[Any] = nullcontext()
    if getattr(model, "is_cache_enabled", False):
        context = model.cache_context(cache)
    where = {} if conditions.place is None else {"place": conditions.place}
    with context:
        return model(**arguments, motion_frames=conditions.motion_frames, **where)
