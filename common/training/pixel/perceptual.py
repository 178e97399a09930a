"""Perceptual loss of the texture phase: does the guess look like the real frames (P, spec §5: CLIP, .05)?"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from common.models.vision import VisionEncoder
from common.training.pixel.clip import DecodedClip, GivenConditions, spread_pictures


class FrameDistance(Protocol):
    """How different two pictures look to a frozen network. LPIPS-like networks fit in here as well."""

    fingerprint: str

    def __call__(self, made: Tensor, real: Tensor) -> Tensor:
        """(M, 3, S, S) in [-1, 1] each -> (M,), with gradients into ``made``; 0 for equal pictures."""
        ...


class EmbeddingDistance:
    """1 - cos(E(made), E(real)) of the image embeddings of a vision encoder (P: CLIP)."""

    def __init__(self, encoder: VisionEncoder) -> None:
        self.encoder = encoder
        self.fingerprint = encoder.fingerprint

    def __call__(self, made: Tensor, real: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = self.encoder.embed(real)
        return 1 - functional.cosine_similarity(self.encoder.embed(made), wanted, dim=-1)


class PerceptualLoss:
    """L = mean over frames of distance(made, real), ``real`` being the decode of the true latents.

    Only of samples whose audio is switched off (P) and that were given their reference (G), as the identity
    loss: with speech, the look of the face would compete with the lips.
    """

    name = "perceptual"
    needs_real, needs_landmarks = True, False

    def __init__(self, distance: FrameDistance, frame_stride: int = 4) -> None:
        """``frame_stride``: one of so many frames is looked at."""
        self.distance, self.stride = distance, frame_stride
        self.fingerprint = distance.fingerprint

    def applies_to(self, given: GivenConditions) -> Tensor:
        return given.silent

    def __call__(self, clip: DecodedClip) -> Tensor:
        assert clip.real is not None
        made, real = (spread_pictures(frames, self.stride) for frames in (clip.made, clip.real))
        return self.distance(made, real).view(clip.made.shape[0], -1).mean(dim=1)
