"""Clips of which a part is made anew: some latents of the pictures, some tokens of the sound."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from common.models.ltx2.inputs import pack_video, unpack_video
from common.models.ltx2.positions import JointClip, audio_positions, video_positions
from common.models.ltx2.roles import JointInputs, Modality, PromptStates, Role, TokenGroup
from common.models.ltx2.transformer import JointTransformer


@dataclass(frozen=True)
class InpaintedClip:
    """One clip and what of it is made anew.

    Attributes:
        clip: length, size and rate.
        video: (1, C, F, h, w) clean latents.
        cells: (F, h, w) bool, which of them are made.
        audio: (1, L, channels) clean tokens.
        tokens: (L,) bool, which of them are made; where none is, the whole sound is given.
        noise, audio_noise: of the shapes of ``video`` and ``audio``.
        reference: (1, C, F, h, w) of the clip that is looked at, too; None: there is none.
    """

    clip: JointClip
    video: Tensor
    cells: Tensor
    audio: Tensor
    tokens: Tensor
    noise: Tensor
    audio_noise: Tensor
    reference: Tensor | None = None

    def inputs(self, model: JointTransformer, prompt: PromptStates) -> JointInputs:
        """All tokens at noise level 1: what is made, as targets, then what is given."""
        where = video_positions(model.model.rope, self.clip)
        groups = _groups(pack_video(self.video), pack_video(self.noise), where, self.cells.flatten())
        if self.reference is not None:
            groups.append(TokenGroup(Role.reference, pack_video(self.reference), where))
        heard = audio_positions(model.model.audio_rope, self.audio.shape[1])
        if self.tokens.any():
            sounds = _groups(self.audio, self.audio_noise, heard, self.tokens)
        else:
            sounds = [TokenGroup(Role.frozen, self.audio, heard)]
        noisiest = torch.ones(1, device=self.video.device)
        return JointInputs(Modality(tuple(groups), noisiest), Modality(tuple(sounds), noisiest), prompt)

    def latents(self, sampled: JointInputs) -> Tensor:
        """(1, C, F, h, w) with what was made."""
        made = _put(pack_video(self.video), sampled.video, self.cells.flatten())
        return unpack_video(made, self.clip.grid)

    def sound(self, sampled: JointInputs) -> Tensor:
        """(1, L, channels) with what was made."""
        return _put(self.audio, sampled.audio, self.tokens)


def _groups(clean: Tensor, noise: Tensor, where: Tensor, made: Tensor) -> list[TokenGroup]:
    return [
        TokenGroup(Role.target, noise[:, made], where[:, :, made]),
        TokenGroup(Role.first_frame, clean[:, ~made], where[:, :, ~made]),
    ]


def _put(clean: Tensor, sampled: Modality, made: Tensor) -> Tensor:
    if not made.any():
        return clean
    result = clean.clone()
    result[:, made] = sampled.groups[0].tokens.to(result.dtype)
    return result
