"""Autoencoders of a small LTX-2 (common/models/ltx2/block_codecs.py), fitted to pairs in one pass."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import eigh
from torch import Tensor

from common.autoencoder.pixels import to_video
from common.checks import at_least, share
from common.data.schema import Sample
from common.errors import UserError
from common.face.masks import lip_mask
from common.geometry import latents_to_frames
from common.models.ltx2.block_codecs import BlockAudioAutoencoder, BlockVideoAutoencoder
from common.models.ltx2.codecs import mel_frames
from common.models.ltx2.settings import AUDIO_STRIDE, FRAME_STRIDE
from common.speech.joint_mel import BANDS, MEL_HOP, JointMelEncoder, mel_window
from stage2_dubber.joint.tokens import covered_share


@dataclass
class BlocksConfig:
    """The ``blocks`` section: autoencoders that are fitted."""

    lip_weight: float = 8.0
    """Times which a block that is all lips counts; others count once."""
    equalised: float = 0.5
    """How far components are brought to one spread: 0 leaves it as it is, 1 makes all alike. Components of
    little spread are fine detail, which a small model should not spend its strength on."""

    def __post_init__(self) -> None:
        at_least("blocks.lip_weight", self.lip_weight, 0)
        share("blocks.equalised", self.equalised)


class VectorMoments:
    """Weighted mean and covariance of vectors, summed up in double precision."""

    def __init__(self, size: int) -> None:
        self._weight = 0.0
        self._sum = torch.zeros(size, dtype=torch.float64)
        self._products = torch.zeros(size, size, dtype=torch.float64)

    def add(self, vectors: Tensor, weights: Tensor) -> None:
        """vectors (N, size), weights (N,)."""
        vectors, weights = vectors.double(), weights.double()
        weighted = vectors * weights[:, None]
        self._weight += float(weights.sum())
        self._sum += weighted.sum(dim=0)
        self._products += weighted.T @ vectors

    def principal(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Mean (size,), the ``count`` strongest components (count, size), and their variances (count,)."""
        mean = self._sum / self._weight
        covariance = self._products / self._weight - torch.outer(mean, mean)
        # The strongest alone: of 128 among thousands, a fraction of the time that all take.
        size = len(mean)
        values, vectors = eigh(covariance.numpy(), subset_by_index=[size - count, size - 1])
        basis = torch.from_numpy(vectors.T[::-1].copy())
        return mean, basis, torch.from_numpy(values[::-1].copy()).clamp_min(0)


def fit_codecs(
    samples: Iterable[Sample], latent_channels: int, audio_channels: int, config: BlocksConfig
) -> tuple[BlockVideoAutoencoder, BlockAudioAutoencoder]:
    """Fit both to the targets of ``samples`` and to their sounds.

    Args:
        samples: with videos, landmarks and sound.
        latent_channels, audio_channels: of a token of video, and of sound.
        config: how.

    Raises:
        UserError: there are no samples, or the channels of the sound are no multiple of 16.
    """
    if audio_channels % 16:
        raise UserError(f"model.audio_channels is {audio_channels}; it must be a multiple of 16.")
    video = BlockVideoAutoencoder(latent_channels=latent_channels)
    audio = BlockAudioAutoencoder(latent_channels=audio_channels // 16)
    seen, heard = VectorMoments(video.mean.numel()), VectorMoments(audio.mean.numel())
    encoder, found = JointMelEncoder(), False
    for sample in samples:
        found = True
        frames = latents_to_frames((len(sample.target) - 1) // FRAME_STRIDE + 1, FRAME_STRIDE)
        vectors = video.vectors(to_video(sample.target[:frames][None])).flatten(0, 3)
        landmarks = sample.arrays["landmarks"][:frames].numpy()
        lips = covered_share(np.asarray(lip_mask(landmarks, sample.target.shape[1])))
        seen.add(vectors, 1 + (config.lip_weight - 1) * lips.flatten())
        count = len(sample.audio) // (MEL_HOP * AUDIO_STRIDE)
        mel = mel_window(encoder.encode(sample.audio), 0.0, mel_frames(count))
        tokens = audio.vectors(torch.from_numpy(mel).expand(1, 2, -1, BANDS))[0]
        heard.add(tokens, torch.ones(len(tokens)))
    if not found:
        raise UserError("data.shards holds no pair: name those of stage 1.")
    for part, moments in ((video, seen), (audio, heard)):
        mean, basis, variances = moments.principal(len(part.latents_std))
        part.mean.copy_(mean)
        part.basis.copy_(basis)
        # latents of variance v^(1 - equalised), scaled to 1 on average
        spread = variances.clamp_min(1e-12).sqrt()
        scale = spread**config.equalised
        part.latents_std.copy_(scale * (spread / scale).square().mean().sqrt())
    return video.eval(), audio.eval()
