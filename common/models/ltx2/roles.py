"""What the tokens of a joint forward pass are, and what follows from it.

Shapes: B batch, N tokens, C latent channels (128), A axes of position: 3 (time, row, column) for video,
1 (time) for audio. A position is the pair (start, end) of what the token covers: seconds, pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import torch
from torch import Tensor

from common.models.ltx2.conventions import CrossMask


class Role(str, Enum):
    """What a group of tokens is."""

    target = "target"
    """To be denoised."""
    first_frame = "first_frame"
    """The first latent frames of the target, or the first tokens of its sound, where they are given."""
    frozen = "frozen"
    """A whole modality of the target that is given: the sound that is to be spoken, for instance."""
    reference = "reference"
    """The source clip, or a sample of a voice: it is looked at and not put out."""


class RoleRule(NamedTuple):
    """noised: the token has the modality's noise level; else it is clean and its timestep is 0.

    crossing: the masks under which the token sees the other modality and is seen by it.
    """

    noised: bool
    crossing: frozenset[CrossMask]


ROLES = {
    Role.target: RoleRule(True, frozenset(CrossMask)),
    Role.first_frame: RoleRule(False, frozenset({CrossMask.none, CrossMask.targets_and_given})),
    Role.frozen: RoleRule(False, frozenset(CrossMask)),
    Role.reference: RoleRule(False, frozenset({CrossMask.none})),
}
"""Positions are the third property: those of the target for all roles but reference audio, for which
:class:`common.models.ltx2.conventions.ReferenceTime` decides."""


@dataclass(frozen=True)
class TokenGroup:
    """Tokens (B, N, C) of one role at positions (1 or B, A, N, 2)."""

    role: Role
    tokens: Tensor
    positions: Tensor

    @property
    def rule(self) -> RoleRule:
        return ROLES[self.role]


@dataclass(frozen=True)
class Modality:
    """All tokens of video, or of audio, in the order of ``groups``. sigma: (B,), of its noised tokens."""

    groups: tuple[TokenGroup, ...]
    sigma: Tensor

    @property
    def tokens(self) -> Tensor:
        return torch.cat([group.tokens for group in self.groups], dim=1)

    @property
    def positions(self) -> Tensor:
        """(B, A, N, 2)."""
        batch = len(self.sigma)
        return torch.cat([group.positions.expand(batch, -1, -1, -1) for group in self.groups], dim=2)

    @property
    def noise_level(self) -> Tensor:
        """(B,): sigma, or 0 where nothing of this modality is denoised."""
        noised = any(group.rule.noised for group in self.groups)
        return self.sigma if noised else torch.zeros_like(self.sigma)

    @property
    def timesteps(self) -> Tensor:
        """(B, N) noise levels of the tokens, or (B, 1) where all of them have the same."""
        if len({group.rule.noised for group in self.groups}) == 1:
            return self.noise_level[:, None]
        levels = [self.sigma if group.rule.noised else torch.zeros_like(self.sigma) for group in self.groups]
        return torch.cat(
            [
                level[:, None].expand(-1, group.tokens.shape[1])
                for level, group in zip(levels, self.groups, strict=True)
            ],
            dim=1,
        )

    def crossing(self, mask: CrossMask) -> Tensor | None:
        """Indices of the tokens that see the other modality and are seen by it; None: all of them."""
        if all(mask in group.rule.crossing for group in self.groups):
            return None
        kept, start = [torch.empty(0, dtype=torch.int64)], 0
        for group in self.groups:
            end = start + group.tokens.shape[1]
            if mask in group.rule.crossing:
                kept.append(torch.arange(start, end))
            start = end
        return torch.cat(kept).to(self.groups[0].tokens.device)

    def stepped(self, velocity: Tensor, step: float) -> Modality:
        """The modality with its noised tokens moved by ``step`` along velocity (B, N, C); others stay."""
        moved, start = [], 0
        for group in self.groups:
            end = start + group.tokens.shape[1]
            tokens = (
                group.tokens + step * velocity[:, start:end].to(group.tokens.dtype)
                if group.rule.noised
                else group.tokens
            )
            moved.append(TokenGroup(group.role, tokens, group.positions))
            start = end
        return Modality(tuple(moved), self.sigma)


@dataclass(frozen=True)
class PromptStates:
    """The prompt as the connectors give it: (B, L, channels) for video, and for audio."""

    video: Tensor
    audio: Tensor

    def to(self, device: torch.device) -> PromptStates:
        return PromptStates(self.video.to(device), self.audio.to(device))


@dataclass(frozen=True)
class JointInputs:
    """One forward pass of the joint transformer."""

    video: Modality
    audio: Modality
    prompt: PromptStates

    def at(self, sigma: float) -> JointInputs:
        """The same tokens under another noise level."""
        level = torch.full_like(self.video.sigma, sigma)
        return JointInputs(
            Modality(self.video.groups, level), Modality(self.audio.groups, level), self.prompt
        )


class JointVelocity(NamedTuple):
    """Predicted noise minus clean latents, (B, N, C), for all tokens of both modalities."""

    video: Tensor
    audio: Tensor
