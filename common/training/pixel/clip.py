"""What a loss on decoded frames sees, and what it promises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class DecodedClip:
    """N decoded frames of each of B samples, (B, 3, N, S, S) in [-1, 1].

    The frames are those of whole latent frames after the first: N = 4 * ``phase.decoded_latents``.
    """

    made: Tensor
    """Frames of the model's guess, with gradients."""
    audio_features: Tensor
    """(B, 2 N, A): the speech of the same time."""
    real: Tensor | None = None
    """Frames of the true latents from the same autoencoder, without gradients; where a loss needs them."""
    landmarks: Tensor | None = None
    """(B, N, 68, 3) in crop pixels of the real frames; where a loss needs them."""


@dataclass(frozen=True)
class GivenConditions:
    """Which conditions of B samples the model was given: (B,) bool each, on the CPU."""

    has_audio: Tensor
    has_reference: Tensor

    @property
    def silent(self) -> Tensor:
        """(B,) bool: without speech (P: those that losses on looks are for), with a reference.

        With neither, the model cannot know whose face to make (G).
        """
        return ~self.has_audio & self.has_reference


class PixelLoss(Protocol):
    """A loss on decoded frames from a frozen network, with gradients into ``clip.made``."""

    name: str
    fingerprint: str
    """Identifies the weights of the frozen network, whatever folder they lie in."""
    needs_real: bool
    needs_landmarks: bool

    def applies_to(self, given: GivenConditions) -> Tensor:
        """(B,) bool: the samples that have this loss."""
        ...

    def __call__(self, clip: DecodedClip) -> Tensor:
        """(B,) losses of samples that all have it."""
        ...


def spread_frames(frames: Tensor, stride: int) -> Tensor:
    """Every ``stride``-th of N frames on axis 2, from the middle of the first ``stride`` on.

    Neighbours look alike: with stride 4 each latent frame is looked at in one of its four.
    """
    return frames[:, :, stride // 2 :: stride]


def spread_pictures(frames: Tensor, stride: int) -> Tensor:
    """(B, 3, N, S, S) -> (B n, 3, S, S): the spread frames of each sample one after the other."""
    return spread_frames(frames, stride).transpose(1, 2).flatten(0, 1)
