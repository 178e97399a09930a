"""Training of the mask-free editor: the companion is the reference, the real clip the target (P, spec §5)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from common.data.batch import DubBatch
from common.data.dataset import ShardDataset
from common.data.schema import ARRAYS, CACHE, LIP_SHAPES, RELIABILITY
from common.errors import UserError
from common.models.adapters import Adapter
from common.models.conventions import Conventions
from common.models.package import save_package
from common.models.package_info import ModelTask, PackageInfo
from common.models.transformer import DubbingTransformer
from common.training.conditioning import FlowInputs
from common.training.loading import MicroBatch, check_encoders
from common.training.pixel.build import build_decoded_losses, check_landmarks, decoded_losses_identity
from common.training.record import training_record
from common.training.speech_transform import speech_transform_of
from common.training.start import load_start, speech_of, starting_model, weight_identity
from common.training.strategy import FlowStrategy, SampleLosses
from stage2_dubber.config import Stage2Config
from stage2_dubber.training.clip_encoder import ClipEncoder
from stage2_dubber.training.own_references import OwnReference, draw_own_reference, with_own_reference
from stage2_dubber.training.phase_adapter import add_phase_adapter

STAGE = 2

_CACHED = (
    "data.degraded_lips changes pixels, but pairs of data.shards or data.held_out have cached latents: pack "
    "them without (pack.cache=false), and name these."
)


_UNTOLD = (
    "{} without reliability and lip_shapes, which data.own_mouths needs: name pairs that stage 1 has made "
    "with pairs.own_mouths=rebuilt."
)


@dataclass(frozen=True)
class EditInputs(FlowInputs):
    """Of a micro-batch that may make its own references."""

    own: OwnReference | None = None


class EditorStrategy(FlowStrategy):
    """One phase of the editor's training.

    The phases differ in their configuration alone: the density of t (``diffusion.timestep_a``), whether all
    parameters or an adapter is trained (``phase``), and the package they start from (``train.init_from``).
    """

    def __init__(self, config: Stage2Config, dataset: ShardDataset) -> None:
        """Raises UserError where data, starting package and configuration do not fit each other."""
        self.config = config
        self.record = training_record(config.train, dataset)
        self.start = load_start(config.train.init_from, config.model, config.vae, config.train.keep_adapters)
        self.speech_fingerprint, speech = speech_of(dataset, config.speech, self.start.package)
        check_encoders(dataset, self.start.codec.fingerprint, self.speech_fingerprint)
        geometry, extra = config.geometry, config.speech.extra_window
        transform = speech_transform_of(config.train, config.speech, config.speech_augment)
        degraded = config.data.degraded_lips
        self._check_task(dataset)
        encoder = None
        if speech is not None:
            seed = config.train.seed
            encoder = ClipEncoder(
                self.start.codec,
                speech,
                geometry.clip_frames,
                extra,
                seed,
                config.augment,
                transform,
                degraded,
            )
        elif config.augment.active:
            raise UserError(
                "augment changes pixels, but all pairs of data.shards have cached latents: make augmented "
                "copies when packing (pairs.augmented_copies), or name pairs without a cache."
            )
        decoded_losses = build_decoded_losses(
            config.phase,
            self.start.codec,
            extra,
            config.train.seed,
            self.speech_fingerprint,
            config.train.mixed_precision,
            config.model.gradient_checkpointing,
        )
        check_landmarks(decoded_losses, dataset)
        super().__init__(config, self.start.context, encoder, decoded_losses, transform)
        self.adapters: tuple[Adapter, ...] = self.start.adapters
        self.conventions = Conventions()  # as the pairs are cut and the clips are trained

    def _check_task(self, dataset: ShardDataset) -> None:
        """Raises UserError where the starting package or the data are of another task."""
        package, task = self.start.package, self.task
        found = ModelTask.edit if package is None else package.info.task
        # Refiners may start from an editor, which knows faces; the other way round nothing is gained.
        if package is not None and found not in (ModelTask.edit, task):
            raise UserError(
                f"{package.folder}: a model for another task ({found.value}, this training is for "
                f"{task.value}): name another in train.init_from, or set data.degraded_lips.resolution or "
                "data.own_mouths as it was trained."
            )
        if task is ModelTask.refine and any(
            dataset.sample(number).has(CACHE) for number in range(len(dataset))
        ):
            raise UserError(_CACHED)
        if task is ModelTask.refine_own_mouths:
            _check_own_mouths(dataset)

    @property
    def task(self) -> ModelTask:
        """What the model is trained for."""
        data = self.config.data
        if data.own_mouths:
            return ModelTask.refine_own_mouths
        return ModelTask.refine if data.degraded_lips.active else ModelTask.edit

    def build_model(self) -> nn.Module:
        model = starting_model(self.start, self.config.model)
        adapter = add_phase_adapter(model, self.config.phase, self.start.adapters)
        if adapter is not None:
            self.adapters = (*self.start.adapters, adapter)
        return model

    def choose_conditions(self, batch: DubBatch, micro: MicroBatch) -> DubBatch:
        if batch.masked_latents is not None or batch.reference_latents.shape != batch.target_latents.shape:
            raise UserError(
                f"The sample {batch.keys[0]} is no pair: name the pairs of stage 1 in data.shards."
            )
        cached = micro.batch is not None or any(sample.has(CACHE) for sample in micro.samples)
        if cached and self.config.data.degraded_lips.active:  # of held-out pairs
            raise UserError(_CACHED)
        if self.task is not ModelTask.refine_own_mouths:
            return replace(batch, reliability=None, lip_shapes=None)
        if batch.reliability is None:  # of held-out pairs
            raise UserError(_UNTOLD.format(f"The sample {batch.keys[0]} is"))
        return batch

    def prepare(self, micro: MicroBatch, device: torch.device) -> EditInputs:
        inputs, config = super().prepare(micro, device), self.config
        own = draw_own_reference(
            micro.draws,
            inputs.conditions.audio_features,
            config.train.seed,
            config.phase.own_references,
            config.diffusion.audio_scale,
        )
        return EditInputs(**vars(inputs), own=own)

    def loss(self, model: nn.Module, inputs: FlowInputs) -> SampleLosses:
        if isinstance(inputs, EditInputs) and inputs.own is not None:
            inputs = with_own_reference(partial(self.velocity, model), inputs, inputs.own)
        return super().loss(model, inputs)

    def identity(self) -> dict[str, Any]:
        phase, degraded = asdict(self.config.phase), self.config.data.degraded_lips
        phase.pop("active_range")  # acts at inference only
        phase.pop("own_references")  # how, not what: may change from one run to the next
        for name in ("identity", "perceptual", "decoded_latents"):  # below, where there are any
            phase.pop(name)
        phase["sync"].pop("model")  # a path; other places may hold the same expert
        return {
            "stage": STAGE,
            "model": weight_identity(self.config.model),
            "phase": phase,
            "judges": decoded_losses_identity(self.config.phase, self.decoded_losses),
            # The frozen weights below an adapter are not in the checkpoint.
            "init_from": self.start.fingerprint if self.config.phase.lora_rank else "",
            "vae": self.start.codec.fingerprint,
            "speech": self.speech_fingerprint,
            **({"degraded_lips": asdict(degraded)} if degraded.active else {}),
            **({"own_mouths": True} if self.config.data.own_mouths else {}),
        }

    def save_package(self, model: nn.Module, folder: Path) -> None:
        assert isinstance(model, DubbingTransformer)
        config = self.config
        sides = config.data.degraded_lips.resolution
        info = PackageInfo(
            stage=STAGE,
            phase=config.phase.name,
            geometry=config.geometry,
            speech=config.speech,
            diffusion=config.diffusion,
            speech_fingerprint=self.speech_fingerprint,
            adapters=self.adapters,
            conventions=self.conventions,
            training=self.record,
            task=self.task,
            lip_resolution=None if not sides else (sides[0], sides[1]),
        )
        save_package(folder, info, model, self.start.codec, self.text)


def _check_own_mouths(dataset: ShardDataset) -> None:
    """Refuse pairs that say nothing of own mouths; the first sample of each folder is looked at.

    Raises:
        UserError: a folder of shards has none.
    """
    first = 0
    for index, size in zip(dataset.indices, dataset.sizes, strict=True):
        sample = dataset.sample(first)
        if not sample.has(ARRAYS) or not {RELIABILITY, LIP_SHAPES} <= set(sample.arrays):
            raise UserError(_UNTOLD.format(f"The samples in '{index.folder}' are"))
        first += size
