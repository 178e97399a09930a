"""How a package of LTX-2 is used; light to import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from common.checks import at_least
from common.errors import UserError
from common.models.ltx2.conventions import CrossMask, CrossModulation, JointConventions, ReferenceTime

FRAME_STRIDE, PIXEL_STRIDE = 8, 32
"""Frames, and rows and columns of pixels, of a latent."""

AUDIO_STRIDE = 4
"""Frames of the spectrogram of an audio latent; the first latent covers one."""

DISTILLED_STEPS = 8


@dataclass(frozen=True)
class JointSettings:
    """What ``bootdub.json`` says of a package of LTX-2, besides what all packages say.

    Attributes:
        model: folder of the model in diffusers' format; in the file it may be relative to the package.
        fingerprint: of the files there.
        version: "2.0" or "2.3".
        prompt: what the stored states say, for people.
        conventions: what its weights and its LoRA were made with.
        distilled: sampled on the eight noise levels of the distilled models.
        text_scale: guidance away from the negative prompt; 1: none.
        perturbed_scale, perturbed_blocks: guidance away from what is predicted where these blocks pass the
            values of their self-attention on; 0: none.
        rescale: how far guidance's spread is brought back.
        speaks: whether its weights were trained to make the sound, too; else they dub a given one alone.
    """

    model: str
    fingerprint: str
    version: str
    prompt: str = ""
    conventions: JointConventions = field(default_factory=JointConventions)
    distilled: bool = False
    text_scale: float = 1.0
    perturbed_scale: float = 0.0
    perturbed_blocks: tuple[int, ...] = ()
    rescale: float = 0.0
    speaks: bool = True

    def __post_init__(self) -> None:
        at_least("joint.perturbed_scale", self.perturbed_scale, 0)
        at_least("joint.rescale", self.rescale, 0)
        if self.perturbed_scale and not self.perturbed_blocks:
            raise UserError("joint.perturbed_scale needs joint.perturbed_blocks: name the blocks.")

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> JointSettings:
        """From JSON. Raises KeyError, TypeError or ValueError where it is damaged."""
        values = dict(content)
        said = dict(values.pop("conventions"))
        conventions = JointConventions(
            CrossModulation(said.pop("modulation")),
            ReferenceTime(said.pop("reference_time")),
            CrossMask(said.pop("mask")),
            **said,
        )
        blocks = tuple(int(block) for block in values.pop("perturbed_blocks"))
        return cls(conventions=conventions, perturbed_blocks=blocks, **values)
