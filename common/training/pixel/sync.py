"""Sync loss of the lip phase: do the lips of the guess belong to the speech (P, spec §5: weight .05)?"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional

from common.errors import UserError
from common.models.frozen import freeze, weight_fingerprint
from common.sync_expert.model import SyncExpert
from common.training.pixel.clip import DecodedClip, GivenConditions


class SyncLoss:
    """L = -log sigmoid(expert(frames, speech)): cross-entropy for "belong together" (G).

    P names the loss and its weight, not its form. Only of samples that were given speech.
    """

    name = "sync"
    needs_real = needs_landmarks = False

    def __init__(self, expert: SyncExpert, speech: str, frames: int = 16) -> None:
        """Raises UserError where the expert's window or speech features are not those of the training."""
        if expert.frames != frames:
            raise UserError(
                f"phase.sync.model looks at {expert.frames} frames at once, training decodes {frames}: "
                f"train an expert with sync.frames={frames}, or set phase.decoded_latents."
            )
        if expert.speech and expert.speech != speech:
            raise UserError(
                f"phase.sync.model reads features of the speech encoder {expert.speech}, this training's are "
                f"of {speech}: train an expert on features of that encoder."
            )
        # Any: diffusers' decorators hide the signature of `to` from type checkers.
        self.expert: Any = freeze(expert)
        self.fingerprint = weight_fingerprint(expert)

    def applies_to(self, given: GivenConditions) -> Tensor:
        return given.has_audio

    def __call__(self, clip: DecodedClip) -> Tensor:
        logits = self.expert.to(clip.made.device)(clip.made, clip.audio_features[:, None])[:, 0]
        return functional.softplus(-logits.float())
