"""Sampling of the joint transformer: its schedule, its guidance, and Euler steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from common.models.ltx2.roles import JointInputs, JointVelocity, PromptStates
from common.models.ltx2.settings import JointSettings
from common.models.ltx2.transformer import JointTransformer

SHIFT_EXPONENT, LAST_SIGMA = 2.05, 0.1

DISTILLED_SIGMAS = (1.0, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875, 0.0)
"""Noise levels of the distilled models: eight steps."""


def joint_sigmas(steps: int) -> Tensor:
    """(steps + 1,) noise levels from 1 to 0 of the models that are not distilled.

    Uniform levels are shifted by exp(2.05) and stretched, so that the last one above 0 is 0.1; of a single
    step it is 1.
    """
    if steps == 1:
        return torch.tensor((1.0, 0.0))
    uniform = torch.linspace(1, 1 / steps, steps, dtype=torch.float64)
    shift = math.exp(SHIFT_EXPONENT)
    shifted = shift * uniform / (1 + (shift - 1) * uniform)
    stretched = 1 - (1 - shifted) * (1 - LAST_SIGMA) / (1 - shifted[-1])
    return torch.cat((stretched, stretched.new_zeros(1))).float()


def package_sigmas(settings: JointSettings, steps: int) -> list[float]:
    """Noise levels of a package: :func:`joint_sigmas` of ``steps``, or the distilled models' own."""
    return list(DISTILLED_SIGMAS) if settings.distilled else joint_sigmas(steps).tolist()


class Branches(NamedTuple):
    """Predicted clean tokens: with everything, and with one thing changed (None: not asked for)."""

    positive: JointVelocity
    negative: JointVelocity | None
    perturbed: JointVelocity | None
    isolated: JointVelocity | None


@dataclass(frozen=True)
class JointGuidance:
    """Scales of guidance; the defaults switch all of it off.

    text_video, text_audio: away from the negative prompt. perturbed: away from what the model predicts where
    ``blocks`` pass their self-attention's values on. isolated: away from what each modality would be without
    the other. rescale: how far the spread of the result is brought back to that of the positive branch.
    """

    text_video: float = 1.0
    text_audio: float = 1.0
    perturbed: float = 0.0
    blocks: tuple[int, ...] = ()
    isolated: float = 1.0
    rescale: float = 0.0

    @classmethod
    def of(cls, settings: JointSettings, audio_scale: float) -> JointGuidance:
        """That of a package; ``audio_scale``: away from pictures that are predicted without the sound."""
        return cls(
            text_video=settings.text_scale,
            text_audio=settings.text_scale,
            perturbed=settings.perturbed_scale,
            blocks=settings.perturbed_blocks,
            isolated=audio_scale,
            rescale=settings.rescale,
        )

    def branches(
        self, model: JointTransformer, inputs: JointInputs, negative: PromptStates | None
    ) -> Branches:
        """The forward passes that the scales need. Raises ValueError where one of them lacks its input."""
        texts = self.text_video != 1 or self.text_audio != 1
        if texts and negative is None:
            raise ValueError("Guidance by text needs the states of a negative prompt.")
        if self.perturbed and not self.blocks:
            raise ValueError("Guidance by perturbation needs the blocks that are perturbed.")

        def clean(asked: JointInputs, **changes: object) -> JointVelocity:
            return _clean(asked, model(asked, **changes))

        return Branches(
            clean(inputs),
            clean(replace(inputs, prompt=negative)) if texts and negative is not None else None,
            clean(inputs, perturbed_blocks=self.blocks) if self.perturbed else None,
            clean(inputs, isolated=True) if self.isolated != 1 else None,
        )

    def combine(self, branches: Branches) -> JointVelocity:
        """Guided clean tokens."""
        scales = ((self.text_video, self.text_audio), self.perturbed, self.isolated)
        guided = []
        for index, positive in enumerate(branches.positive):
            result = positive
            for other, scale in (
                (branches.negative, scales[0][index] - 1),
                (branches.perturbed, scales[1]),
                (branches.isolated, scales[2] - 1),
            ):
                if other is not None:
                    result = result + scale * (positive - other[index])
            factor = self.rescale * positive.std() / result.std() + 1 - self.rescale if self.rescale else 1.0
            guided.append(result * factor)
        return JointVelocity(*guided)


def sample_joint(
    model: JointTransformer,
    inputs: JointInputs,
    sigmas: Sequence[float],
    guidance: JointGuidance | None = None,
    negative: PromptStates | None = None,
    told: Callable[[JointInputs], None] | None = None,
) -> JointInputs:
    """The inputs with their target tokens denoised by Euler steps; all other tokens stay as they are.

    Args:
        inputs: target tokens are noise of level ``sigmas[0]``.
        sigmas: falling noise levels, the last one 0.
        told: called after every step.
    """
    guidance = guidance or JointGuidance()
    for sigma, following in pairwise(sigmas):
        inputs = inputs.at(sigma)
        clean = guidance.combine(guidance.branches(model, inputs, negative))
        step = (following - sigma) / sigma
        inputs = replace(
            inputs,
            video=inputs.video.stepped(inputs.video.tokens - clean.video, step),
            audio=inputs.audio.stepped(inputs.audio.tokens - clean.audio, step),
        )
        if told is not None:
            told(inputs)
    return inputs


def _clean(inputs: JointInputs, velocity: JointVelocity) -> JointVelocity:
    """x - v * (the token's own noise level): of clean tokens themselves."""
    return JointVelocity(
        inputs.video.tokens - velocity.video * inputs.video.timesteps[..., None],
        inputs.audio.tokens - velocity.audio * inputs.audio.timesteps[..., None],
    )
