"""One training example of flow matching: its noise level, its noise, and which conditions it sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from common.data.batch import DubBatch
from common.diffusion.flow import FlowMatching
from common.models.rope import Place
from common.training.config import FlowTrainConfig
from common.training.draws import Draw


@dataclass(frozen=True)
class FlowInputs:
    """B prepared samples. F latent frames, of which each sample's first ``clean_frames`` carry no noise."""

    batch: DubBatch
    """Conditions already dropped where they are to be dropped."""
    t: Tensor
    """(B,) noise level in [0, 1]."""
    noisy: Tensor
    """(B, C, F, h, w): z_t, with clean latents in the motion frames."""
    velocity: Tensor
    """(B, C, F, h, w): what the model shall predict."""
    clean_frames: Tensor
    """(B,) int64: 0, or the number of motion latents."""
    has_audio: Tensor
    """(B,) bool, on the CPU: whose speech was not dropped."""
    has_reference: Tensor
    """(B,) bool, on the CPU: whose reference was not dropped."""
    motion_frames: int
    """Largest of ``clean_frames``: the model wants it as a number."""
    judged_from: Tensor | None = None
    """(B,) first latent frame that pixel losses look at, where there are any."""
    place: Place | None = None
    """Where all of this lies if it is a part of the picture; h and w are then the part's."""

    @property
    def motion_mask(self) -> Tensor | None:
        """(B,) bool: who has motion frames; None where nobody has."""
        return self.clean_frames > 0 if self.motion_frames else None


@dataclass(frozen=True)
class SampleDraw:
    """What is drawn for one sample."""

    t: float
    noise: Tensor
    """(C, F, h, w)."""
    drop_reference: bool
    drop_audio: bool
    motion: bool


def draw_sample(draw: Draw, config: FlowTrainConfig, flow: FlowMatching, shape: Sequence[int]) -> SampleDraw:
    """Everything random about one sample of latent ``shape`` (C, F, h, w); a pure function of its arguments.

    Condition dropout (G, spec section 5): both conditions vanish with ``drop_both``, speech alone with
    ``drop_audio``: the branches that the guidance evaluates.
    """
    generator = draw.generator(config.seed, "flow")
    t = float(flow.sample_t(1, generator))
    dropped, moved = torch.rand(2, generator=generator).tolist()
    both = dropped < config.drop_both
    return SampleDraw(
        t=t,
        noise=torch.randn(tuple(shape), generator=generator),
        drop_reference=both,
        drop_audio=both or dropped < config.drop_both + config.drop_audio,
        motion=moved < config.motion_probability,
    )


def flow_inputs(
    batch: DubBatch, draws: Sequence[Draw], config: FlowTrainConfig, flow: FlowMatching, motion_latents: int
) -> FlowInputs:
    """Noise a batch and drop its conditions. Everything stays on the batch's device.

    Motion latents (P, spec section 3): with ``motion_probability`` the first ``motion_latents`` latent frames
    of the target are given clean, as they are in every window of a long video but the first.
    """
    clean = batch.target_latents
    drawn = [draw_sample(draw, config, flow, clean.shape[1:]) for draw in draws]
    t = clean.new_tensor([one.t for one in drawn])
    noise = torch.stack([one.noise for one in drawn]).to(clean)
    counts = [motion_latents if one.motion else 0 for one in drawn]
    clean_frames = torch.tensor(counts, device=clean.device)
    frames = torch.arange(clean.shape[2], device=clean.device)
    is_clean = (frames < clean_frames[:, None])[:, None, :, None, None]
    return FlowInputs(
        batch=replace(
            batch,
            reference_latents=_drop(batch.reference_latents, [one.drop_reference for one in drawn]),
            audio_features=_drop(batch.audio_features, [one.drop_audio for one in drawn]),
        ),
        t=t,
        noisy=torch.where(is_clean, clean, flow.add_noise(clean, noise, t)),
        velocity=flow.velocity_target(clean, noise),
        clean_frames=clean_frames,
        has_audio=torch.tensor([not one.drop_audio for one in drawn]),
        has_reference=torch.tensor([not one.drop_reference for one in drawn]),
        motion_frames=max(counts),
    )


def _drop(values: Tensor, dropped: Sequence[bool]) -> Tensor:
    """Zeros for the dropped samples (G): exactly what the sampler puts there."""
    gone = torch.tensor(dropped, device=values.device).view(-1, *[1] * (values.ndim - 1))
    return values.masked_fill(gone, 0.0)
