"""References that the editor makes itself: a clip that it has dubbed with other speech, to be dubbed back.

A dub may edit a clip more than once (``diffusion.passes``) and then sees its own lips. What is wrong with
them, a mouth moved half of the way or a doubled lip, no companion of stage 1 shows; here the model learns to
put it right, the real clip being the target all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from common.training.conditioning import FlowInputs
from common.training.draws import Draw, is_chosen

Predict = Callable[[FlowInputs], Tensor]


@dataclass(frozen=True)
class OwnReference:
    """How a micro-batch of B samples is dubbed to become its own references."""

    audio_features: Tensor
    """(B, F, W, A): the speech that is dubbed instead."""
    guidance: Tensor
    """(B,): how far beyond what the model makes without speech."""


def others_speech(audio_features: Tensor) -> Tensor:
    """(B, F, W, A): every sample gets its neighbour's speech, a single one its own backwards."""
    return audio_features.roll(1, dims=0) if len(audio_features) > 1 else audio_features.flip(1)


def draw_own_reference(
    draws: Sequence[Draw], audio_features: Tensor, seed: int, share: float, most_guidance: float
) -> OwnReference | None:
    """What this micro-batch does, a pure function of its arguments; None: it keeps its companions.

    Decided by step, not by sample: all processes run the model equally often.

    Args:
        audio_features: (B, F, W, A).
        share: of the steps.
        most_guidance: the guidance is uniform from 1 to this.
    """
    if not is_chosen(draws[0].step, share, seed, "own references"):
        return None
    drawn = [float(torch.rand(1, generator=draw.generator(seed, "own guidance"))) for draw in draws]
    return OwnReference(
        others_speech(audio_features), 1 + (most_guidance - 1) * audio_features.new_tensor(drawn)
    )


@torch.no_grad()
def with_own_reference(velocity: Predict, inputs: FlowInputs, own: OwnReference) -> FlowInputs:
    """The inputs with each reference dubbed as ``own`` says, in one step from noise.

    Dropped references stay dropped. ``velocity``: what the model predicts for inputs.
    """
    reference, noise = inputs.conditions.reference, inputs.velocity + inputs.batch.target_latents
    assert reference is not None
    conditions = replace(inputs.conditions, motion=None, motion_mask=None)
    start = replace(
        inputs,
        sigma=torch.ones_like(inputs.sigma),
        noisy=noise,
        clean_frames=torch.zeros_like(inputs.clean_frames),
    )

    def dubbed(audio_features: Tensor) -> Tensor:
        asked = replace(start, conditions=replace(conditions, audio_features=audio_features))
        return (noise - velocity(asked)).to(reference)

    silent, speaking = dubbed(torch.zeros_like(own.audio_features)), dubbed(own.audio_features)
    guidance = own.guidance.view(-1, 1, 1, 1, 1).to(reference)
    keep = inputs.has_reference.to(reference.device).view(-1, 1, 1, 1, 1)
    made = torch.where(keep, silent + guidance * (speaking - silent), reference)
    return replace(inputs, conditions=replace(inputs.conditions, reference=made))
