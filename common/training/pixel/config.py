"""Losses on decoded frames: their weights and the frozen networks that compute them."""

from __future__ import annotations

from dataclasses import dataclass, field

from common.checks import at_least
from common.errors import UserError
from common.geometry import TEMPORAL_STRIDE


@dataclass
class PixelLossConfig:
    """A loss on decoded frames: its weight (0: off) and the folder of its frozen network."""

    weight: float = 0.0
    model: str = ""


@dataclass
class IdentityLossConfig:
    """ArcFace of an insightface pack on decoded frames (P): weight (0: off), and where the pack is."""

    weight: float = 0.0
    pack: str = "buffalo_l"
    root: str = ""  # folder that holds models/<pack>; empty: ~/.insightface
    frame_stride: int = 4  # the loss takes one of so many decoded frames

    def __post_init__(self) -> None:
        at_least("phase.identity.weight", self.weight, 0.0)
        at_least("phase.identity.frame_stride", self.frame_stride, 1)


@dataclass
class PerceptualLossConfig:
    """A vision encoder (P: CLIP) on decoded frames: weight (0: off), and its save_pretrained folder."""

    weight: float = 0.0
    model: str = ""
    frame_stride: int = 4  # the loss takes one of so many decoded frames

    def __post_init__(self) -> None:
        at_least("phase.perceptual.weight", self.weight, 0.0)
        at_least("phase.perceptual.frame_stride", self.frame_stride, 1)
        if self.weight and not self.model:
            raise UserError(
                "phase.perceptual.weight is set but phase.perceptual.model is empty: name the folder of a "
                "CLIP, SigLIP or DINOv2 vision encoder, or set the weight to 0."
            )


@dataclass
class DecodedFrameLossesConfig:
    """The losses on decoded frames of one phase, whose section is called ``phase``."""

    sync: PixelLossConfig = field(default_factory=PixelLossConfig)  # P: .05 in the lip phase
    identity: IdentityLossConfig = field(default_factory=IdentityLossConfig)  # P: .05 in the texture phase
    perceptual: PerceptualLossConfig = field(default_factory=PerceptualLossConfig)  # P: as identity
    decoded_latents: int = 4  # latent frames that these losses look at: 4 frames of video each

    def __post_init__(self) -> None:
        at_least("phase.sync.weight", self.sync.weight, 0.0)
        if self.sync.weight and not self.sync.model:
            raise UserError(
                "phase.sync.weight is set but phase.sync.model is empty: name the folder of a sync expert "
                "(common/sync_expert/train.py), or set the weight to 0."
            )
        at_least("phase.decoded_latents", self.decoded_latents, 1)
        if self.decoded_latents * TEMPORAL_STRIDE < max(
            self.identity.frame_stride, self.perceptual.frame_stride
        ):
            raise UserError(
                f"phase.decoded_latents is {self.decoded_latents}, less than one frame_stride: raise it or "
                "lower phase.identity.frame_stride and phase.perceptual.frame_stride."
            )

    @property
    def active(self) -> bool:
        """Whether a loss has a weight, so that frames are decoded."""
        return bool(self.sync.weight or self.identity.weight or self.perceptual.weight)
