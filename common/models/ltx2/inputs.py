"""From latents to the tokens of a joint forward pass, with their roles and positions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from common.models.ltx2.positions import JointClip, audio_positions, video_positions
from common.models.ltx2.roles import JointInputs, Modality, PromptStates, Role, TokenGroup
from common.models.ltx2.transformer import JointTransformer


def pack_video(latents: Tensor) -> Tensor:
    """(B, C, F, h, w) -> (B, F h w, C)."""
    return latents.flatten(2).transpose(1, 2)


def unpack_video(tokens: Tensor, grid: tuple[int, int, int]) -> Tensor:
    """The inverse of :func:`pack_video`."""
    return tokens.transpose(1, 2).unflatten(2, grid)


@dataclass(frozen=True)
class GivenAudioClip:
    """A clip whose pictures are to be made for a sound that is given.

    Attributes:
        clip: lengths, sizes and rate.
        noise: (1, C, F, h, w).
        first: (1, C, m, h, w) clean latents, the first of the target, where they are given.
        reference: (1, C, F, h / d, w / d) of the source, d times smaller in pixels.
        audio: (1, L, channels) tokens of the sound.
    """

    clip: JointClip
    noise: Tensor
    first: Tensor | None
    reference: Tensor
    audio: Tensor

    def inputs(self, model: JointTransformer, prompt: PromptStates) -> JointInputs:
        """Its tokens at noise level 1: target, given first frames and reference; the sound is frozen.

        Raises:
            UserError: the reference cannot be that much smaller.
        """
        rope = model.model
        downscale = model.conventions.reference_downscale
        where = video_positions(rope.rope, self.clip, downscale=1)
        given = 0 if self.first is None else self.first.shape[2] * self.noise[0, 0, 0].numel()
        groups = [
            TokenGroup(Role.target, pack_video(self.noise)[:, given:], where[:, :, given:]),
            TokenGroup(
                Role.reference,
                pack_video(self.reference),
                video_positions(rope.rope, self.clip.downscaled(downscale), downscale),
            ),
        ]
        if self.first is not None:
            groups.insert(0, TokenGroup(Role.first_frame, pack_video(self.first), where[:, :, :given]))
        sigma = torch.ones(1, device=self.noise.device)
        sound = audio_positions(rope.audio_rope, self.audio.shape[1])
        return JointInputs(
            Modality(tuple(groups), sigma),
            Modality((TokenGroup(Role.frozen, self.audio, sound),), sigma),
            prompt,
        )

    def latents(self, sampled: JointInputs) -> Tensor:
        """(1, C, F, h, w) of the target, the given frames among it."""
        made = [group.tokens for group in sampled.video.groups if group.role is not Role.reference]
        return unpack_video(torch.cat(made, dim=1), self.clip.grid)
