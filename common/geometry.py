"""How many latent frames a clip has, and which pixel frames each of them covers.

The video autoencoder is causal: latent frame 0 holds pixel frame 0 alone, every later latent frame k holds
the four pixel frames 4k-3 .. 4k (R). Autoencoders of another ``stride`` do the same with that.
"""

from __future__ import annotations

from dataclasses import dataclass

from common.checks import at_least, clip_length
from common.errors import UserError

TEMPORAL_STRIDE = 4


def is_clip_length(frames: int, stride: int = TEMPORAL_STRIDE) -> bool:
    """Whether ``frames`` pixel frames fill whole latent frames (1, 5, 9, ...)."""
    return frames >= 1 and frames % stride == 1


def frames_to_latents(frames: int, stride: int = TEMPORAL_STRIDE) -> int:
    """Number of latent frames of ``frames`` pixel frames. Raises UserError where the length is no 4k + 1."""
    if not is_clip_length(frames, stride):
        raise UserError(
            f"A clip of {frames} frames does not fill whole latent frames; "
            f"use one more than a multiple of {stride}."
        )
    return (frames - 1) // stride + 1


def latents_to_frames(latents: int, stride: int = TEMPORAL_STRIDE) -> int:
    """Number of pixel frames of ``latents`` latent frames; 0 for 0 (no motion frames, for instance)."""
    return 0 if latents == 0 else (latents - 1) * stride + 1


def ceil_clip_length(frames: int, stride: int = TEMPORAL_STRIDE) -> int:
    """The smallest length of the form 4k + 1 that holds ``frames`` pixel frames (at least 1)."""
    return latents_to_frames(-(-max(frames - 1, 0) // stride) + 1, stride)


@dataclass
class GeometryConfig:
    """What one clip is: rate in frames per second, square crops in pixels, lengths in frames."""

    fps: float = 25.0
    crop_size: int = 512
    crop_scale: float = 1.45  # side of the crop over the size of the face
    clip_frames: int = 77  # always 4k+1: the first latent frame is one pixel frame, each later one four
    motion_latents: int = 2  # clean leading latents: 4 * (n - 1) + 1 pixel frames

    def __post_init__(self) -> None:
        clip_length("geometry.clip_frames", self.clip_frames)
        at_least("geometry.crop_size", self.crop_size, 1)
        if not 0 <= self.motion_latents < self.latent_frames:
            raise UserError(
                f"geometry.motion_latents is {self.motion_latents}; it must be below the "
                f"{self.latent_frames} latent frames of a clip."
            )

    @property
    def latent_frames(self) -> int:
        return frames_to_latents(self.clip_frames)
