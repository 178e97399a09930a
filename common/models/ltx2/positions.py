"""Clips of LTX-2: which lengths, sizes and rates it takes, and where its tokens lie.

The autoencoder of the video covers 8 frames and 32 x 32 pixels with a latent, and frame 0 alone with the
first; that of the audio gives 25 latents per second.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from diffusers.models.transformers.transformer_ltx2 import LTX2AudioVideoRotaryPosEmbed
from numpy.typing import NDArray
from torch import Tensor

from common.errors import UserError
from common.models.ltx2.conventions import ReferenceTime
from common.models.ltx2.settings import FRAME_STRIDE, PIXEL_STRIDE

AUDIO_RATE = 25.0
REFERENCE_GAP = 0.04
"""Seconds between the end of reference audio and the target, with ``ReferenceTime.before``: one latent."""

TRAINED_RATES = (24.0, 25.0, 30.0, 60.0)
RATE_TOLERANCE = 0.1


@dataclass(frozen=True)
class JointClip:
    """A clip of ``frames`` frames of ``height`` x ``width`` pixels.

    Raises UserError for a length that is not 8k + 1, sides that 32 does not divide, or a rate that lies more
    than a tenth from all that LTX-2 was trained on: positions are in seconds.
    """

    frames: int
    height: int
    width: int
    fps: float

    def __post_init__(self) -> None:
        if self.frames < 1 or self.frames % FRAME_STRIDE != 1:
            raise UserError(
                f"A clip of {self.frames} frames does not fill whole latent frames of LTX-2; use one more "
                f"than a multiple of {FRAME_STRIDE}."
            )
        if min(self.height, self.width) < 1 or self.height % PIXEL_STRIDE or self.width % PIXEL_STRIDE:
            raise UserError(
                f"A picture of {self.width}x{self.height} pixels does not fill whole latents of LTX-2; use "
                f"sides that are multiples of {PIXEL_STRIDE}."
            )
        if not any(abs(self.fps / rate - 1) <= RATE_TOLERANCE for rate in TRAINED_RATES):
            raise UserError(
                f"A clip of {self.fps:g} frames per second is far from the rates that LTX-2 was trained on "
                f"({', '.join(f'{rate:g}' for rate in TRAINED_RATES)}); convert it to one of them."
            )

    @property
    def grid(self) -> tuple[int, int, int]:
        """Latent frames, rows and columns."""
        return (
            (self.frames - 1) // FRAME_STRIDE + 1,
            self.height // PIXEL_STRIDE,
            self.width // PIXEL_STRIDE,
        )

    @property
    def audio_tokens(self) -> int:
        return round(self.frames / self.fps * AUDIO_RATE)

    def downscaled(self, factor: int) -> JointClip:
        """The clip of a reference ``factor`` times smaller. Raises UserError where it would be none."""
        if self.height % factor or self.width % factor:
            raise UserError(
                f"A picture of {self.width}x{self.height} pixels cannot be made {factor} times smaller; use "
                f"sides that are multiples of {factor * PIXEL_STRIDE}."
            )
        return JointClip(self.frames, self.height // factor, self.width // factor, self.fps)


def video_positions(rope: LTX2AudioVideoRotaryPosEmbed, clip: JointClip, downscale: int = 1) -> Tensor:
    """(1, 3, N, 2) float32: seconds, rows and columns of the tokens of ``clip``, frame by frame.

    ``downscale``: rows and columns are multiplied by it, so that a smaller reference lies on the target.
    """
    positions = rope.prepare_video_coords(1, *clip.grid, device=torch.device("cpu"), fps=clip.fps)
    return positions * positions.new_tensor((1, downscale, downscale)).view(1, 3, 1, 1)


def audio_positions(rope: LTX2AudioVideoRotaryPosEmbed, tokens: int) -> Tensor:
    """(1, 1, N, 2) float32: seconds of a clip's own audio latents."""
    return rope.prepare_audio_coords(1, tokens, device=torch.device("cpu"))


def reference_audio_positions(rope: LTX2AudioVideoRotaryPosEmbed, tokens: int, time: ReferenceTime) -> Tensor:
    """(1, 1, N, 2) float32: seconds of the latents of reference audio."""
    positions = audio_positions(rope, tokens)
    if time is ReferenceTime.same:
        return positions
    return positions - positions[..., -1].max() - REFERENCE_GAP


def smaller(frames: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Frames (N, S, S, 3) with sides ``factor`` times shorter, for a reference."""
    if factor == 1:
        return frames
    side = frames.shape[1] // factor
    return np.stack([cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA) for frame in frames])
