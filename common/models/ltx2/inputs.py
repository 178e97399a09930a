"""From latents to the tokens of a joint forward pass, with their roles and positions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from common.models.ltx2.positions import (
    JointClip,
    audio_positions,
    reference_audio_positions,
    video_positions,
)
from common.models.ltx2.roles import JointInputs, JointVelocity, Modality, PromptStates, Role, TokenGroup
from common.models.ltx2.transformer import JointTransformer


def pack_video(latents: Tensor) -> Tensor:
    """(B, C, F, h, w) -> (B, F h w, C)."""
    return latents.flatten(2).transpose(1, 2)


def unpack_video(tokens: Tensor, grid: tuple[int, int, int]) -> Tensor:
    """The inverse of :func:`pack_video`."""
    return tokens.transpose(1, 2).unflatten(2, grid)


@dataclass(frozen=True)
class CellWindow:
    """Rows and columns of latents: a part of the picture."""

    rows: slice
    columns: slice

    def cut(self, values: Tensor) -> Tensor:
        """(..., h, w) of the whole picture -> what lies in the window."""
        return values[..., self.rows, self.columns]

    def cut_positions(self, positions: Tensor, grid: tuple[int, int, int]) -> Tensor:
        """(1, 3, F h w, 2) of the whole picture -> those of the tokens in the window."""
        return positions.unflatten(2, grid)[:, :, :, self.rows, self.columns].flatten(2, 4)


@dataclass(frozen=True)
class ClipParts:
    """What B clips of one length and size are made of, at some noise level.

    Attributes:
        clip: lengths, sizes and rate.
        video: (B, C, F, h, w) of the target: noisy but for the first ``given`` latent frames.
        given: how many of them are given clean.
        audio: (B, L, channels) tokens of the target's sound.
        audio_given: the sound is given clean; else it is noisy but for the first ``audio_motion`` tokens.
        reference: (B, C, F, h / d, w / d) of the source, d times smaller in pixels; None: there is none.
        reference_audio: (B, M, channels) tokens of the source's sound or of a voice; None: there is none.
        window: of which part of the picture ``video`` and ``reference`` are; None: the whole.
        audio_motion: how many of the first tokens of a noisy sound are given clean.
    """

    clip: JointClip
    video: Tensor
    given: int
    audio: Tensor
    audio_given: bool
    reference: Tensor | None = None
    reference_audio: Tensor | None = None
    window: CellWindow | None = None
    audio_motion: int = 0

    def inputs(
        self,
        model: JointTransformer,
        prompt: PromptStates,
        sigma: Tensor,
        audio_sigma: Tensor | None = None,
    ) -> JointInputs:
        """Their tokens, those of the target first.

        Args:
            model: that takes them.
            prompt: of all clips.
            sigma: (B,), noise levels.
            audio_sigma: (B,), those of the sound; None: the same.

        Raises:
            UserError: the reference cannot be that much smaller.
        """
        return JointInputs(
            Modality(tuple(self._video_groups(model)), sigma),
            Modality(tuple(self._audio_groups(model)), sigma if audio_sigma is None else audio_sigma),
            prompt,
        )

    def of_target(self, values: JointVelocity) -> JointVelocity:
        """What belongs to the target, among values of all tokens of :meth:`inputs`."""
        return JointVelocity(
            values.video[:, : self.video[0, 0].numel()], values.audio[:, : self.audio.shape[1]]
        )

    def latents(self, sampled: JointInputs) -> Tensor:
        """(B, C, F, h, w) of the target, the given frames among it."""
        made = [group.tokens for group in sampled.video.groups if group.role is not Role.reference]
        return unpack_video(torch.cat(made, dim=1), self.clip.grid)

    def sound(self, sampled: JointInputs) -> Tensor:
        """(B, L, channels), the target's sound, the given tokens among it."""
        made = [group.tokens for group in sampled.audio.groups if group.role is not Role.reference]
        return torch.cat(made, dim=1)

    def _video_groups(self, model: JointTransformer) -> list[TokenGroup]:
        rope, downscale = model.model.rope, model.conventions.reference_downscale
        tokens, where = pack_video(self.video), self._placed(video_positions(rope, self.clip), self.clip)
        given = self.given * self.video[0, 0, 0].numel()
        groups = [TokenGroup(Role.target, tokens[:, given:], where[:, :, given:])]
        if given:
            groups.insert(0, TokenGroup(Role.first_frame, tokens[:, :given], where[:, :, :given]))
        if self.reference is not None:
            smaller = self.clip.downscaled(downscale)
            place = self._placed(video_positions(rope, smaller, downscale), smaller)
            groups.append(TokenGroup(Role.reference, pack_video(self.reference), place))
        return groups

    def _placed(self, positions: Tensor, clip: JointClip) -> Tensor:
        return positions if self.window is None else self.window.cut_positions(positions, clip.grid)

    def _audio_groups(self, model: JointTransformer) -> list[TokenGroup]:
        rope = model.model.audio_rope
        where, given = audio_positions(rope, self.audio.shape[1]), self.audio_motion
        role = Role.frozen if self.audio_given else Role.target
        groups = [TokenGroup(role, self.audio[:, given:], where[:, :, given:])]
        if given:
            groups.insert(0, TokenGroup(Role.first_frame, self.audio[:, :given], where[:, :, :given]))
        if self.reference_audio is not None:
            count, time = self.reference_audio.shape[1], model.conventions.reference_time
            where = reference_audio_positions(rope, count, time)
            groups.append(TokenGroup(Role.reference, self.reference_audio, where))
        return groups
