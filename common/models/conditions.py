"""What the dubbing transformer is told beside the noisy latents: one object from the caller to the model.

Shapes: B batch, C latent channels, K condition channels, F latent frames of the target, Fr of the reference,
h and w latent height and width, W speech features per latent frame, A their channels, L text tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import torch


class GridOffset(NamedTuple):
    """Where a grid of tokens lies in a larger picture: its first row and column, and the picture's size."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class ModelConditions:
    """The conditions of B samples.

    Attributes:
        audio_features: (B, F, W, A) speech at 50 Hz, windowed per latent frame; zeros: no speech.
        reference: (B, C, Fr, h, w) clean latents; zeros: no reference. None: no such tokens.
        text: (B or 1, L, text_dim) text states; given exactly where the model has text attention. With a
            first dimension of 1 all samples share them.
        condition_planes: (B, K, F, h, w) extra channels of the target: the latents of the masked video, or
            what is known of frames that own mouths have drawn
            (:func:`common.own_mouths.planes.condition_planes`); None where the model has no such channels.
        motion: (B, C, m, h, w) clean latents of the first m target frames, from the window before. The
            sampler writes them into the latents; the model gives those frames timestep 0.
        motion_mask: (B,) bool, which samples have motion frames at all; None: every one. Samplers know no
            mask: there it is None.
        offset: where the latents lie, in tokens, if they are a part of a larger picture.
    """

    audio_features: torch.Tensor
    reference: torch.Tensor | None = None
    text: torch.Tensor | None = None
    condition_planes: torch.Tensor | None = None
    motion: torch.Tensor | None = None
    motion_mask: torch.Tensor | None = None
    offset: GridOffset | None = None

    @property
    def motion_frames(self) -> int:
        """Leading target latent frames that are given clean."""
        return 0 if self.motion is None else self.motion.shape[2]

    def row(self, index: int) -> ModelConditions:
        """The conditions of one sample, as a batch of one."""
        return self._changed(lambda name: getattr(self, name)[index : index + 1])

    def without(self, *, reference: bool = False, audio: bool = False) -> ModelConditions:
        """Zeros for the reference, for the speech, or for both: what a dropped condition looks like."""
        kept = self
        if reference and kept.reference is not None:
            kept = replace(kept, reference=torch.zeros_like(kept.reference))
        if audio:
            kept = replace(kept, audio_features=torch.zeros_like(kept.audio_features))
        return kept

    @staticmethod
    def concatenate(parts: Sequence[ModelConditions]) -> ModelConditions:
        """One batch of conditions that have the same fields; shared text stays shared."""
        return parts[0]._changed(lambda name: torch.cat([getattr(part, name) for part in parts]))

    def _changed(self, change: Callable[[str], torch.Tensor]) -> ModelConditions:
        """The same with ``change(name)`` for every tensor that has a row per sample."""
        batched: dict[str, torch.Tensor] = {
            field.name: change(field.name)
            for field in fields(self)
            if isinstance(getattr(self, field.name), torch.Tensor)
            and not (field.name == "text" and self._shares_text)
        }
        return replace(self, **batched)  # type: ignore[arg-type]

    @property
    def _shares_text(self) -> bool:
        return self.text is not None and self.text.shape[0] == 1
