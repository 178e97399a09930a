"""The losses on decoded frames that a phase's configuration asks for."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch

from common.arithmetic import resolve_precision
from common.autoencoder.codec import VideoCodec
from common.data.dataset import ShardDataset
from common.data.schema import ARRAYS
from common.errors import UserError
from common.geometry import TEMPORAL_STRIDE
from common.sync_expert.model import load_expert
from common.training.pixel.clip import PixelLoss
from common.training.pixel.config import DecodedFrameLossesConfig
from common.training.pixel.decoded import DecodedFrameLosses
from common.training.pixel.sync import SyncLoss

_ELSEWHERE = ("model", "pack", "root")  # where a network's weights lie; other places may hold the same


def build_decoded_losses(
    phase: DecodedFrameLossesConfig,
    codec: VideoCodec,
    extra_window: int,
    seed: int,
    speech: str,
    precision: str = "float32",
    checkpointing: bool = False,
) -> DecodedFrameLosses | None:
    """The losses on decoded frames of a phase, or None where it has none.

    Args:
        speech: fingerprint of the speech encoder.
        precision: ``train.mixed_precision``: the decoder computes as the trained model does.
        checkpointing: see :class:`DecodedFrameLosses`.

    Raises:
        UserError: the frozen network of a loss is missing or does not fit.
    """
    losses: list[tuple[PixelLoss, float]] = []
    if phase.sync.weight:
        frames = phase.decoded_latents * TEMPORAL_STRIDE
        losses.append((SyncLoss(load_expert(phase.sync.model), speech, frames), phase.sync.weight))
    if phase.identity.weight:
        # Imported where wanted: insightface and transformers take seconds.
        from common.training.pixel.identity import FaceEmbedder, IdentityLoss

        embed = FaceEmbedder(phase.identity.pack, phase.identity.root)
        losses.append((IdentityLoss(embed, phase.identity.frame_stride), phase.identity.weight))
    if phase.perceptual.weight:
        from common.models.vision import VisionEncoder
        from common.training.pixel.perceptual import EmbeddingDistance, PerceptualLoss

        distance = EmbeddingDistance(VisionEncoder(phase.perceptual.model))
        losses.append((PerceptualLoss(distance, phase.perceptual.frame_stride), phase.perceptual.weight))
    if not losses:
        return None
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = resolve_precision(precision, device)
    autocast = dtype if dtype == torch.bfloat16 else None
    # A codec of its own around the same weights: what encodes the data keeps its precision.
    own = VideoCodec(codec.vae, autocast)
    return DecodedFrameLosses(own, losses, extra_window, seed, phase.decoded_latents, checkpointing)


def check_landmarks(losses: DecodedFrameLosses | None, dataset: ShardDataset) -> None:
    """Refuse data without landmarks before training begins; the first sample of each folder is looked at.

    Raises:
        UserError: a loss aligns faces and a folder of shards has no landmarks.
    """
    if losses is None or not losses.needs_landmarks:
        return
    first = 0
    for index, size in zip(dataset.indices, dataset.sizes, strict=True):
        sample = dataset.sample(first)
        if not sample.has(ARRAYS) or "landmarks" not in sample.arrays:
            raise UserError(
                f"The samples in '{index.folder}' have no landmarks, by which the identity loss aligns "
                "faces: make the shards again with the pack step, or set phase.identity.weight=0."
            )
        first += size


def decoded_losses_identity(
    phase: DecodedFrameLossesConfig, losses: DecodedFrameLosses | None
) -> dict[str, Any] | None:
    """What of these losses a checkpoint must agree with: settings, and weights instead of folders."""
    if losses is None:
        return None
    settings = asdict(phase)
    networks = {
        name: {**{k: v for k, v in settings[name].items() if k not in _ELSEWHERE}, "weights": weights}
        for name, weights in losses.fingerprints.items()
    }
    return {"latents": losses.latents, **networks}
