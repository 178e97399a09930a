"""One training example of flow matching: its noise level, its noise, and which conditions it sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from common.data.batch import DubBatch
from common.diffusion.flow import FlowMatching
from common.models.conditions import ModelConditions
from common.own_mouths.planes import condition_planes
from common.training.config import FlowTrainConfig
from common.training.draws import Draw


@dataclass(frozen=True)
class FlowInputs:
    """B prepared samples. F latent frames, of which each sample's first ``clean_frames`` carry no noise."""

    batch: DubBatch
    """The samples as they are stored, nothing dropped."""
    conditions: ModelConditions
    """What the model is told of them, with zeros where a condition was dropped."""
    sigma: Tensor
    """(B,) noise level in [0, 1]."""
    noisy: Tensor
    """(B, C, F, h, w): z_sigma, with clean latents in the motion frames."""
    velocity: Tensor
    """(B, C, F, h, w): what the model shall predict."""
    clean_frames: Tensor
    """(B,) int64: 0, or the number of motion latents."""
    has_audio: Tensor
    """(B,) bool, on the CPU: whose speech was not dropped."""
    has_reference: Tensor
    """(B,) bool, on the CPU: whose reference was not dropped."""
    decoded_from: Tensor | None = None
    """(B,) first latent frame that losses on decoded frames look at, where there are any."""


@dataclass(frozen=True)
class SampleDraw:
    """What is drawn for one sample."""

    sigma: float
    noise: Tensor
    """(C, F, h, w)."""
    drop_reference: bool
    drop_audio: bool
    motion: bool


def draw_sample(draw: Draw, config: FlowTrainConfig, flow: FlowMatching, shape: Sequence[int]) -> SampleDraw:
    """Everything random about one sample of latent ``shape`` (C, F, h, w); a pure function of its arguments.

    Condition dropout (G, docs/notation.md §5): both conditions vanish with ``drop_both``, speech alone with
    ``drop_audio``: the branches that the guidance evaluates.
    """
    generator = draw.generator(config.seed, "flow")
    sigma = float(flow.sample_sigma(1, generator))
    dropped, moved = torch.rand(2, generator=generator).tolist()
    both = dropped < config.drop_both
    return SampleDraw(
        sigma=sigma,
        noise=torch.randn(tuple(shape), generator=generator),
        drop_reference=both,
        drop_audio=both or dropped < config.drop_both + config.drop_audio,
        motion=moved < config.motion_probability,
    )


def flow_inputs(
    batch: DubBatch,
    draws: Sequence[Draw],
    config: FlowTrainConfig,
    flow: FlowMatching,
    motion_latents: int,
    text: Tensor | None = None,
) -> FlowInputs:
    """Noise a batch and drop its conditions. Everything stays on the batch's device.

    ``text``: (1, L, text_dim), the constant text states of models with text attention.

    Motion latents (P, docs/notation.md §3): with ``motion_probability`` the first ``motion_latents`` latent
    frames of the target are given clean, as they are in every window of a long video but the first.
    """
    clean = batch.target_latents
    drawn = [draw_sample(draw, config, flow, clean.shape[1:]) for draw in draws]
    sigma = clean.new_tensor([one.sigma for one in drawn])
    noise = torch.stack([one.noise for one in drawn]).to(clean)
    counts = [motion_latents if one.motion else 0 for one in drawn]
    clean_frames = torch.tensor(counts, device=clean.device)
    frames = torch.arange(clean.shape[2], device=clean.device)
    is_clean = (frames < clean_frames[:, None])[:, None, :, None, None]
    conditions = replace(
        batch_conditions(batch, text),
        reference=_drop(batch.reference_latents, [one.drop_reference for one in drawn]),
        audio_features=_drop(batch.audio_features, [one.drop_audio for one in drawn]),
    )
    if any(counts):
        motion = clean[:, :, :motion_latents]
        conditions = replace(conditions, motion=motion, motion_mask=clean_frames > 0)
    return FlowInputs(
        batch=batch,
        conditions=conditions,
        sigma=sigma,
        noisy=torch.where(is_clean, clean, flow.add_noise(clean, noise, sigma)),
        velocity=flow.velocity_target(clean, noise),
        clean_frames=clean_frames,
        has_audio=torch.tensor([not one.drop_audio for one in drawn]),
        has_reference=torch.tensor([not one.drop_reference for one in drawn]),
    )


def batch_conditions(batch: DubBatch, text: Tensor | None = None) -> ModelConditions:
    """All conditions of a batch, without motion frames; ``text`` as in :func:`flow_inputs`."""
    planes = batch.masked_latents
    if batch.reliability is not None and batch.lip_shapes is not None:
        planes = condition_planes(batch.reliability, batch.lip_shapes).to(batch.target_latents)
    return ModelConditions(
        audio_features=batch.audio_features,
        reference=batch.reference_latents,
        text=None if text is None else text.to(batch.target_latents),
        condition_planes=planes,
    )


def _drop(values: Tensor, dropped: Sequence[bool]) -> Tensor:
    """Zeros for the dropped samples (G): exactly what the sampler puts there."""
    gone = torch.tensor(dropped, device=values.device).view(-1, *[1] * (values.ndim - 1))
    return values.masked_fill(gone, 0.0)
