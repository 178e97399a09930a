"""What a training changes about the speech features of its samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from common.data.schema import Sample
from common.errors import UserError
from common.lip_shapes.encoder import require_true_lips, true_lip_features
from common.speech.config import SpeechAugmentConfig, SpeechConfig
from common.speech.mel_augment import augment_mel, mel_changes
from common.training.config import FlowTrainConfig
from common.training.draws import Draw


@dataclass(frozen=True)
class SpeechTransform:
    """Random changes of features (T, A) with margins; pure functions of the draw.

    ``augment``: other recordings of the same words, of mel features; None: none. ``true_lips``: share of the
    samples that get the lips of their own frames, of features that are lips.
    """

    seed: int
    augment: SpeechAugmentConfig | None = None
    true_lips: float = 0.0

    def __call__(
        self, draws: Sequence[Draw], samples: Sequence[Sample], number: int, features: Tensor
    ) -> Tensor:
        """The features of the sample at a place of ``samples``.

        Raises:
            UserError: it has no landmarks, where they are needed.
        """
        draw, sample = draws[number], samples[number]
        if self.augment is not None:
            features = augment_mel(features, draw.generator(self.seed, "speech"), self.augment)
        if self.true_lips:
            chosen = float(torch.rand(1, generator=draw.generator(self.seed, "true lips")))
            if chosen < self.true_lips:
                features = true_lip_features(_landmarks(sample), features)
        return features


def speech_transform_of(
    train: FlowTrainConfig, speech: SpeechConfig, augment: SpeechAugmentConfig | None = None
) -> SpeechTransform | None:
    """What the configuration asks for; None where nothing is changed.

    Raises:
        UserError: the features are of a kind that cannot be changed so.
    """
    changes = None if augment is None else mel_changes(augment, speech)
    share = require_true_lips(train.true_lips, speech)
    return SpeechTransform(train.seed, changes, share) if changes is not None or share else None


def _landmarks(sample: Sample) -> Tensor:
    if "landmarks" not in sample.arrays:
        raise UserError(
            f"The sample {sample.key} has no landmarks, which train.true_lips needs: make the shards again."
        )
    return sample.arrays["landmarks"]
