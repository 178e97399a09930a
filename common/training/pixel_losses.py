"""Losses on decoded frames: a few latent frames of the model's one-step guess of the clean clip, judged.

The guess (P, spec §5): x0_hat = z_0 + (v - v_hat) min(t, 0.6). With the true t it would be x_t - t v_hat; the
bound keeps very noisy samples, whose guess is blurred anyway, from drowning the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from common.config import PhaseConfig
from common.errors import UserError
from common.geometry import TEMPORAL_STRIDE
from common.models.sync_expert import SyncExpert, load_expert
from common.models.vae import VideoCodec
from common.speech.windows import BASE_WINDOW
from common.training.draws import Draw

TAU_MAX = 0.6
# Judged latent frames: 4 hold 16 pixel frames, the window of a sync expert.
LATENTS = 4
FRAMES = LATENTS * TEMPORAL_STRIDE


def one_step_estimate(clean: Tensor, velocity: Tensor, predicted: Tensor, t: Tensor) -> Tensor:
    """x0_hat of samples (B, C, F, h, w) at noise levels t (B,); differentiable in ``predicted``."""
    tau = t.clamp(max=TAU_MAX).view(-1, 1, 1, 1, 1)
    return clean + (velocity - predicted) * tau


@dataclass(frozen=True)
class DecodedClip:
    """What a pixel loss sees of B samples: 16 frames of S x S px in [-1, 1], (B, 3, 16, S, S).

    ``features`` (B, 32, A) is the speech of the same time; ``has_audio`` (B,) bool is False where the model
    was given none.
    """

    made: Tensor
    features: Tensor
    has_audio: Tensor


class PixelLoss(Protocol):
    """One judgement of decoded frames, with gradients into ``clip.made``."""

    name: str

    def __call__(self, clip: DecodedClip) -> Tensor:
        """(B,) losses, zero for samples that are not its business."""
        ...


class SyncLoss:
    """Cross-entropy of a frozen sync expert that is asked whether lips and speech belong together (G).

    Only of samples that were given speech.
    """

    name = "sync"

    def __init__(self, expert: SyncExpert, speech: str) -> None:
        """Raises UserError where the expert's window or speech features are not those of the training."""
        if expert.frames != FRAMES:
            raise UserError(
                f"phase.sync.model judges {expert.frames} frames at once, training decodes {FRAMES}: "
                f"train an expert with sync.frames={FRAMES}."
            )
        if expert.speech and expert.speech != speech:
            raise UserError(
                f"phase.sync.model hears features of the speech encoder {expert.speech}, this training's are "
                f"of {speech}: train an expert on features of that encoder."
            )
        # Any: diffusers' decorators hide the signature of `to` from type checkers.
        self.expert: Any = expert.eval().requires_grad_(False)

    def __call__(self, clip: DecodedClip) -> Tensor:
        logits = self.expert.to(clip.made.device)(clip.made, clip.features[:, None])[:, 0]
        return functional.softplus(-logits.float()) * clip.has_audio


@dataclass(frozen=True)
class PixelJudge:
    """Decodes the guess and asks all losses of a phase, ``losses`` with their weights."""

    codec: VideoCodec
    losses: Sequence[tuple[PixelLoss, float]]
    extra_window: int
    seed: int

    def draw_start(self, draws: Sequence[Draw], latent_frames: int) -> Tensor:
        """(B,) first judged latent frame of each sample, in [1, F - 4].

        Raises:
            UserError: the clips are too short to be judged.
        """
        choices = latent_frames - LATENTS
        if choices < 1:
            raise UserError(
                f"Clips of {latent_frames} latent frames are too short for losses on decoded frames, which "
                f"look at {LATENTS} after the first: set geometry.clip_frames to {FRAMES + 1} or more."
            )
        generators = [draw.generator(self.seed, "pixels") for draw in draws]
        return torch.cat([1 + torch.randint(choices, (1,), generator=one) for one in generators])

    def __call__(
        self, estimate: Tensor, audio_features: Tensor, has_audio: Tensor, start: Tensor
    ) -> dict[str, Tensor]:
        """Weighted losses (B,) by name.

        Args:
            estimate: (B, C, F, h, w) normalised latents, guessed.
            audio_features: (B, F, W, A) that the model was given.
            has_audio: (B,) bool.
            start: (B,) first judged latent frame of each sample.
        """
        # The latent before is decoded too: the autoencoder's first latent holds one frame, all others four.
        made = self.codec.decode_with_grad(_slices(estimate, start - 1, LATENTS + 1))[:, :, 1:]
        own = audio_features[:, :, self.extra_window : self.extra_window + BASE_WINDOW]
        heard = _slices(own.movedim(1, 2), start, LATENTS).movedim(2, 1).flatten(1, 2)
        clip = DecodedClip(made, heard, has_audio)
        return {loss.name: weight * loss(clip) for loss, weight in self.losses}


def build_judge(
    phase: PhaseConfig, codec: VideoCodec, extra_window: int, seed: int, speech: str
) -> PixelJudge | None:
    """The judge of a phase, or None where no loss of it looks at pixels. ``speech``: encoder's fingerprint.

    Raises:
        UserError: a model that shall judge is missing or does not fit.
    """
    losses: list[tuple[PixelLoss, float]] = []
    if phase.sync.weight:
        losses.append((SyncLoss(load_expert(phase.sync.model), speech), phase.sync.weight))
    return PixelJudge(codec, losses, extra_window, seed) if losses else None


def _slices(values: Tensor, start: Tensor, count: int) -> Tensor:
    """(B, C, F, ...) -> (B, C, count, ...) from a first frame of each sample's own."""
    return torch.stack(
        [row[:, first : first + count] for row, first in zip(values, start.tolist(), strict=True)]
    )
