"""Training of a phonetic encoder: log-mel features to those of a large speech encoder (gap G).

Knowledge distillation by regression of hidden features: what a narrow layer must carry so that all of the
teacher's channels can be told from it. Augmented spectra are compared with the teacher's clean features.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common.data.dataset import ShardDataset
from common.data.schema import Sample
from common.files import atomic_dir
from common.lip_shapes.phonetics import PhoneticNetwork
from common.phonetics.config import PhoneticTrainingConfig
from common.phonetics.label import STEP, TEACHER
from common.phonetics.model import build_encoder
from common.speech.config import SpeechAugmentConfig
from common.speech.labelled import require_labelled
from common.speech.mel import MelEncoder
from common.speech.mel_augment import augment_mel
from common.training.draws import Draw
from common.training.strategy import SampleLosses

_MEASURED = 500
"""Samples from which means and deviations are taken."""


@dataclass(frozen=True)
class TeacherClips:
    """``features``: (B, T, 80), with margins. ``wanted``: (B, N, C) between the margins."""

    draws: tuple[Draw, ...]
    features: Tensor
    wanted: Tensor

    def __len__(self) -> int:
        return len(self.draws)


@dataclass(frozen=True)
class _Collate:
    seed: int
    augment: SpeechAugmentConfig

    def __call__(self, items: Sequence[tuple[Draw, Sample]]) -> TeacherClips:
        features, wanted = [], []
        for draw, sample in items:
            mel = sample.cache["audio_features"].float()
            features.append(augment_mel(mel, draw.generator(self.seed, "speech"), self.augment))
            wanted.append(sample.cache[TEACHER].float())
        return TeacherClips(tuple(draw for draw, _ in items), torch.stack(features), torch.stack(wanted))


class PhoneticStudent(nn.Module):
    """A phonetic encoder and the layer that tells the teacher's channels from it; the layer is not kept.

    Attributes:
        mean, deviation: (C,) of the teacher's channels.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, encoder: PhoneticNetwork, mean: Tensor, deviation: Tensor) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.channels, len(mean))
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)

    def forward(self, features: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Predicted and wanted features, (B, N, C) each, of deviation 1."""
        margin = (features.shape[1] - wanted.shape[1]) // 2
        made = self.head(self.encoder(features)[:, margin : features.shape[1] - margin])
        return made, (wanted - self.mean) / self.deviation


class PhoneticsStrategy:
    """Regression of a teacher's features, for the trainer of the stages."""

    def __init__(self, config: PhoneticTrainingConfig, dataset: ShardDataset) -> None:
        """Raises UserError where the data are not those of `phonetics`."""
        self.config, self.dataset = config, dataset
        require_labelled(dataset, {STEP: "common.phonetics.label"}, "a phonetic encoder")

    def build_model(self) -> nn.Module:
        features = torch.cat([sample.cache[TEACHER].float() for sample in self._measured()])
        encoder = build_encoder(self.config.phonetics, MelEncoder.channels)
        return PhoneticStudent(encoder, features.mean(dim=0), features.std(dim=0).clamp_min(1e-3))

    def collate(self) -> _Collate:
        return _Collate(self.config.train.seed, self.config.speech_augment)

    def prepare(self, micro: TeacherClips, device: torch.device) -> TeacherClips:
        return TeacherClips(micro.draws, micro.features.to(device), micro.wanted.to(device))

    def loss(self, model: nn.Module, inputs: TeacherClips) -> SampleLosses:
        made, wanted = model(inputs.features, inputs.wanted)
        errors = (made.float() - wanted).square().mean(dim=(1, 2))
        # Against the mean of all speech, not of each clip: 0 is a student that says nothing.
        explained = 1 - errors.detach() / wanted.square().mean(dim=(1, 2))
        return SampleLosses(errors, torch.zeros(len(errors)), {"explained": explained})

    def identity(self) -> dict[str, Any]:
        return {"stage": STEP, "data": [index.meta for index in self.dataset.indices]}

    def save_package(self, model: nn.Module, folder: Path) -> None:
        """The encoder alone, with the means and deviations of its channels."""
        assert isinstance(model, PhoneticStudent)
        encoder: Any = deepcopy(model.encoder).eval()
        self._measure(encoder)
        with atomic_dir(folder) as temporary:
            # It is shipped with every lip-shape predictor: half the bytes.
            encoder.half().save_pretrained(temporary)

    @torch.no_grad()
    def _measure(self, encoder: Any) -> None:
        device = encoder.offset.device
        made = [
            encoder(sample.cache["audio_features"].float()[None].to(device))[0] for sample in self._measured()
        ]
        values = torch.cat(made)
        encoder.offset.copy_(values.mean(dim=0))
        encoder.scale.copy_(1 / values.std(dim=0).clamp_min(1e-3))

    def _measured(self) -> list[Sample]:
        step = max(1, len(self.dataset) // _MEASURED)
        return [self.dataset.sample(number) for number in range(0, len(self.dataset), step)]
