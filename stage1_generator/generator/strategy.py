"""Training of the inpainting generator: masked video on extra channels, stills as references (P, spec §3)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from common.data.batch import DubBatch
from common.data.dataset import ShardDataset
from common.errors import UserError
from common.models.package import save_package
from common.models.package_info import PackageInfo
from common.models.transformer import DubbingTransformer
from common.training.loading import MicroBatch, check_encoders
from common.training.record import training_record
from common.training.speech_transform import speech_transform_of
from common.training.start import load_start, speech_of, starting_model, weight_identity
from common.training.strategy import FlowStrategy
from stage1_generator.config import Stage1Config

STAGE = 1
PHASE = "generator"


class GeneratorStrategy(FlowStrategy):
    """The lower face is painted from speech, the rest of the frame and a few stills of the same person."""

    def __init__(self, config: Stage1Config, dataset: ShardDataset) -> None:
        """Raises UserError where data, starting package and configuration do not fit each other."""
        self.config = config
        self.record = training_record(config.train, dataset)
        self.start = load_start(config.train.init_from, config.model, config.vae)
        self.speech_fingerprint, uncached = speech_of(dataset, config.speech, self.start.package)
        if uncached is not None:
            raise UserError(
                "data.shards holds clips without latents: run `python -m stage1_generator.encode`."
            )
        check_encoders(dataset, self.start.codec.fingerprint, self.speech_fingerprint)
        transform = speech_transform_of(config.train, config.speech, config.speech_augment)
        super().__init__(config, self.start.context, speech_transform=transform)

    def build_model(self) -> nn.Module:
        if self.start.adapters:
            raise UserError("train.init_from has adapters: start the generator from a package without.")
        return starting_model(self.start, self.config.model)

    def choose_conditions(self, batch: DubBatch, micro: MicroBatch) -> DubBatch:
        """Stills are drawn anew at every visit, in a random order, where the clip has more than needed."""
        if batch.masked_latents is None:
            raise UserError(
                f"The sample {batch.keys[0]} is not from the encode step: name its shards in data.shards."
            )
        count, stored = self.config.references.count, batch.reference_latents.shape[2]
        if stored < count:
            raise UserError(
                f"The sample {batch.keys[0]} has {stored} reference stills, references.count is {count}: "
                "run the encode step again."
            )
        chosen = [
            torch.randperm(stored, generator=draw.generator(self.train.seed, "references"))[:count]
            for draw in micro.draws
        ]
        references = torch.stack(
            [stills[:, pick] for stills, pick in zip(batch.reference_latents, chosen, strict=True)]
        )
        return replace(batch, reference_latents=references)

    def identity(self) -> dict[str, Any]:
        return {
            "stage": STAGE,
            "model": weight_identity(self.config.model),
            "references": self.config.references.count,
            "vae": self.start.codec.fingerprint,
            "speech": self.speech_fingerprint,
        }

    def save_package(self, model: nn.Module, folder: Path) -> None:
        assert isinstance(model, DubbingTransformer)
        info = package_info(self.config, PHASE, self.speech_fingerprint, self.record)
        save_package(folder, info, model, self.start.codec, self.text)


def package_info(
    config: Stage1Config, phase: str, speech_fingerprint: str, record: dict[str, Any]
) -> PackageInfo:
    """Metadata of a package that a training of this stage writes; ``record``: of the training."""
    return PackageInfo(
        stage=STAGE,
        phase=phase,
        geometry=config.geometry,
        speech=config.speech,
        diffusion=config.diffusion,
        speech_fingerprint=speech_fingerprint,
        training={**record, "references": config.references.count},
    )
