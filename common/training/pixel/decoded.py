"""A few latent frames of the model's one-step guess of the clean clip are decoded, for the losses on them.

The guess (P, spec §5): x0_hat = z_0 + (v - v_hat) min(sigma, 0.6). With the true sigma it would be
z_sigma - sigma v_hat; the bound keeps very noisy samples, whose guess is blurred anyway, from drowning the
others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from common.autoencoder.codec import VideoCodec
from common.data.batch import DubBatch
from common.diffusion.flow import FlowMatching
from common.errors import UserError
from common.geometry import TEMPORAL_STRIDE
from common.speech.windows import BASE_WINDOW
from common.training.draws import Draw
from common.training.pixel.clip import DecodedClip, GivenConditions, PixelLoss


def one_step_estimate(
    clean: Tensor, velocity: Tensor, predicted: Tensor, sigma: Tensor, clean_frames: Tensor | None = None
) -> Tensor:
    """x0_hat of samples (B, C, F, h, w) at noise levels sigma (B,); differentiable in ``predicted``.

    The first ``clean_frames`` (B,) latent frames, which were given clean, are the true ones: the sampler
    writes them back after every step, so that the prediction for them is never used.
    """
    estimate = FlowMatching.estimate_clean_capped(clean, velocity, predicted, sigma)
    if clean_frames is None:
        return estimate
    given = torch.arange(clean.shape[2], device=clean.device) < clean_frames[:, None]
    return torch.where(given[:, None, :, None, None], clean, estimate)


@dataclass(frozen=True)
class DecodedLoss:
    """The values of one loss for B samples."""

    losses: Tensor
    """(B,) weighted; 0 for samples that it does not apply to."""
    applied: Tensor
    """(B,) bool: the samples that it applies to."""

    @property
    def logged(self) -> Tensor:
        """(B,) detached, NaN where it does not apply: those samples must not drag a mean to zero."""
        return torch.where(self.applied, self.losses.detach(), torch.nan)


@dataclass(frozen=True)
class DecodedFrameLosses:
    """Decodes the guess and computes all losses of a phase on it, ``losses`` with their weights.

    ``latents``: decoded latent frames of each sample; 4 hold 16 pixel frames, the window of a sync expert.
    ``checkpointing``: decode sample by sample and compute activations again in the backward pass.
    """

    codec: VideoCodec
    losses: Sequence[tuple[PixelLoss, float]]
    extra_window: int
    seed: int
    latents: int = 4
    checkpointing: bool = False

    @property
    def fingerprints(self) -> dict[str, str]:
        """Loss -> what identifies its frozen network."""
        return {loss.name: loss.fingerprint for loss, _ in self.losses}

    @property
    def needs_landmarks(self) -> bool:
        return any(loss.needs_landmarks for loss, _ in self.losses)

    def draw_start(self, draws: Sequence[Draw], latent_frames: int) -> Tensor:
        """(B,) first latent frame of each sample that is looked at, in [1, F - latents].

        Raises:
            UserError: the clips are too short.
        """
        choices = latent_frames - self.latents
        if choices < 1:
            raise UserError(
                f"Clips of {latent_frames} latent frames are too short for losses on decoded frames, which "
                f"look at {self.latents} after the first: set geometry.clip_frames to "
                f"{self.latents * TEMPORAL_STRIDE + 1} or more."
            )
        generators = [draw.generator(self.seed, "pixels") for draw in draws]
        return torch.cat([1 + torch.randint(choices, (1,), generator=one) for one in generators])

    def __call__(
        self, estimate: Tensor, batch: DubBatch, given: GivenConditions, start: Tensor
    ) -> dict[str, DecodedLoss]:
        """Weighted losses by name.

        Only samples that some loss applies to are decoded, and the true clip only where a loss compares with
        it.

        Args:
            estimate: (B, C, F, h, w) normalised latents, guessed.
            batch: the samples, with their own speech.
            given: (B,) what the model was given.
            start: (B,) first latent frame of each sample that is looked at.

        Raises:
            UserError: landmarks are needed and the samples have none.
        """
        if self.needs_landmarks and batch.landmarks is None:
            raise UserError(
                f"One of the samples {', '.join(batch.keys)} has no landmarks, by which the identity loss "
                "aligns faces: make the shards again with the pack step, or set phase.identity.weight=0."
            )
        applied = [loss.applies_to(given) for loss, _ in self.losses]
        rows = torch.stack(applied).any(dim=0).nonzero()[:, 0]
        clip = self._decode(estimate, batch, start, rows) if len(rows) else None
        decoded = {}
        for (loss, weight), mine in zip(self.losses, applied, strict=True):
            losses = estimate.new_zeros(len(batch), dtype=torch.float32)
            if clip is not None and mine.any():
                values = weight * loss(_part(clip, mine[rows].nonzero()[:, 0]))
                losses = losses.index_copy(0, mine.nonzero()[:, 0].to(losses.device), values.float())
            decoded[loss.name] = DecodedLoss(losses, mine.to(losses.device))
        return decoded

    def _decode(self, estimate: Tensor, batch: DubBatch, start: Tensor, rows: Tensor) -> DecodedClip:
        """The frames of the samples ``rows`` that are looked at."""
        where, first = rows.to(estimate.device), start[rows]
        # The latent before is decoded too: the autoencoder's first latent holds one frame, all others four.
        codec, span = self.codec.to(estimate.device), (first - 1, self.latents + 1)
        made = codec.decode_with_grad(_slices(estimate[where], *span), self.checkpointing)[:, :, 1:]
        own = batch.audio_features[where, :, self.extra_window : self.extra_window + BASE_WINDOW]
        audio_features = _slices(own.movedim(1, 2), first, self.latents).movedim(2, 1).flatten(1, 2)
        real = landmarks = None
        if any(loss.needs_real for loss, _ in self.losses):
            real = codec.decode(_slices(batch.target_latents[where], *span))[:, :, 1:]
        if self.needs_landmarks:
            assert batch.landmarks is not None
            # Latent k >= 1 holds the frames 4 k - 3 ... 4 k.
            frame = (first - 1) * TEMPORAL_STRIDE + 1
            count = self.latents * TEMPORAL_STRIDE
            landmarks = _slices(batch.landmarks[where, None], frame, count)[:, 0]
        return DecodedClip(made, audio_features, real, landmarks)


def _part(clip: DecodedClip, rows: Tensor) -> DecodedClip:
    where = rows.to(clip.made.device)
    if len(where) == len(clip.made):
        return clip
    return replace(
        clip,
        **{
            name: value[where]
            for name in ("made", "audio_features", "real", "landmarks")
            if (value := getattr(clip, name)) is not None
        },
    )


def _slices(values: Tensor, start: Tensor, count: int) -> Tensor:
    """(B, C, F, ...) -> (B, C, count, ...) from a first frame of each sample's own."""
    return torch.stack(
        [row[:, first : first + count] for row, first in zip(values, start.tolist(), strict=True)]
    )
