"""What the mouth does when this is heard: training of the speech layers alone, before any picture is drawn.

The generator has to learn at once how faces look and which sound belongs to which lips, and the second is a
small part of its loss. Here the layers that listen learn it from landmarks, at a hundredth of the cost of a
training step with pictures; the generator then starts from them (gap G: the papers have enough data to do
without).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from common.data.dataset import ShardDataset
from common.data.schema import Sample
from common.errors import UserError
from common.face.layout import INNER_LIP_PAIRS, MOUTH
from common.face.mouth import mouth_shape
from common.geometry import TEMPORAL_STRIDE, frames_to_latents
from common.models.package import save_package
from common.models.transformer import DubbingTransformer
from common.speech.mel_augment import mel_changes
from common.speech.windows import BASE_WINDOW
from common.training.draws import Draw
from common.training.loading import Assemble, MicroBatch
from common.training.record import training_record
from common.training.start import load_start, speech_of, starting_model, weight_identity
from common.training.strategy import SampleLosses
from stage1_generator.config import Stage1Config
from stage1_generator.strategy import STAGE, package_info

PHASE = "speech"
SHAPE_VALUES = 2 * (len(MOUTH) + 1)
UNIT = 0.03
"""Eye-corner distances: about how far lips move in speech."""
_UPPER, _LOWER = (
    torch.tensor([2 * (pair[side] - MOUTH[0]) + 1 for pair in INNER_LIP_PAIRS]) for side in (0, 1)
)


class MouthReader(nn.Module):
    """Speech features in, mouth shapes out, through the transformer's own speech layers.

    forward: (B, F, W, A) -> (B, 4 (F - 1) + 1, 42), in units of :data:`UNIT`.
    """

    def __init__(self, transformer: DubbingTransformer, window: int) -> None:
        super().__init__()
        self.transformer = transformer.requires_grad_(False)
        self.transformer.audio_embedding.requires_grad_(True)
        dim = transformer.audio_embedding.proj_out.out_features
        self.head = nn.Sequential(nn.LayerNorm(window * dim), nn.Linear(window * dim, 4 * SHAPE_VALUES))

    def forward(self, features: Tensor) -> Tensor:
        tokens = self.transformer.audio_embedding(features)
        shapes = self.head(tokens.flatten(2)).unflatten(2, (TEMPORAL_STRIDE, SHAPE_VALUES))
        # The first latent frame is one frame, the others are four.
        return shapes.flatten(1, 2)[:, TEMPORAL_STRIDE - 1 :]


@dataclass(frozen=True)
class MouthInputs:
    """``features``: (B, F, W, A). ``shapes``: (B, N, 42) in units of UNIT around the clip's mean."""

    features: Tensor
    shapes: Tensor


@dataclass(frozen=True)
class WithShapes:
    """Collate function: the stages' own, which also checks that every clip has landmarks."""

    assemble: Assemble

    def __call__(self, items: Sequence[tuple[Draw, Sample]]) -> MicroBatch:
        for _, sample in items:
            if "landmarks" not in sample.arrays:
                raise UserError(f"The sample {sample.key} has no landmarks: run the encode step again.")
        return self.assemble(items)


class SpeechStrategy:
    """Regression of mouth shapes from speech features, for the trainer of the stages."""

    def __init__(self, config: Stage1Config, dataset: ShardDataset) -> None:
        """Raises UserError where data and configuration do not fit each other."""
        self.config = config
        self.record = training_record(config.train, dataset)
        self.start = load_start(config.train.init_from, config.model, config.vae)
        self.speech_fingerprint, uncached = speech_of(dataset, config.speech, self.start.package)
        if uncached is not None:
            raise UserError(
                "data.shards holds clips without features: run `python -m stage1_generator.encode`."
            )

    def build_model(self) -> nn.Module:
        window = BASE_WINDOW + 2 * self.config.speech.extra_window
        return MouthReader(starting_model(self.start, self.config.model), window)

    def collate(self) -> WithShapes:
        config = self.config
        changes = mel_changes(config.speech_augment, config.speech)
        extra = config.speech.extra_window
        return WithShapes(Assemble(config.geometry.clip_frames, extra, config.train.seed, changes))

    def prepare(self, micro: MicroBatch, device: torch.device) -> MouthInputs:
        assert micro.batch is not None and micro.batch.landmarks is not None
        frames = TEMPORAL_STRIDE * (micro.batch.audio_features.shape[1] - 1) + 1
        assert frames_to_latents(frames) == micro.batch.audio_features.shape[1]
        shapes = [mouth_shape(points[:frames].numpy()) for points in micro.batch.landmarks]
        values = np.stack(shapes).reshape(len(shapes), frames, SHAPE_VALUES) / UNIT
        # Whose mouth it is cannot be heard.
        values = values - np.nanmean(values, axis=1, keepdims=True)
        return MouthInputs(micro.batch.audio_features.to(device), torch.from_numpy(values).float().to(device))

    def loss(self, model: nn.Module, inputs: MouthInputs) -> SampleLosses:
        made = model(inputs.features)
        made = made - made.mean(dim=1, keepdim=True)
        known = inputs.shapes.isfinite()
        errors = nn.functional.smooth_l1_loss(made, inputs.shapes.nan_to_num(), reduction="none")
        loss = (errors * known).sum(dim=(1, 2)) / known.sum(dim=(1, 2)).clamp_min(1)
        agreement = _pearson(_openings(made.detach()), _openings(inputs.shapes))
        return SampleLosses(loss, torch.zeros(len(loss)), {"opening_r": agreement})

    def identity(self) -> dict[str, Any]:
        return {
            "stage": STAGE,
            "phase": PHASE,
            "model": weight_identity(self.config.model),
            "speech": self.speech_fingerprint,
        }

    def save_package(self, model: nn.Module, folder: Path) -> None:
        assert isinstance(model, MouthReader)
        info = package_info(self.config, PHASE, self.speech_fingerprint, self.record)
        save_package(folder, info, model.transformer, self.start.codec, self.start.context)


def _openings(shapes: Tensor) -> Tensor:
    """(B, N) inner-lip gaps of (B, N, 42) shapes."""
    return (shapes[..., _LOWER] - shapes[..., _UPPER]).mean(dim=-1)


def _pearson(a: Tensor, b: Tensor) -> Tensor:
    """(B,) correlations over frames; NaN where a curve is flat or unknown."""
    a, b = (x - x.mean(dim=1, keepdim=True) for x in (a, b))
    return (a * b).sum(dim=1) / (a.square().sum(dim=1) * b.square().sum(dim=1)).sqrt()
