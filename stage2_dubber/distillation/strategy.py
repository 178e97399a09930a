"""Distillation of the guided editor into a student of a few steps without guidance (DMD2, Yin et al. 2024).

Networks of one kind, started from packages:

    teacher   frozen; its guided velocity says where the real distribution lies
    fake      follows the student's samples by flow matching; says where the student's distribution lies
    student   dubs; x0_fake - x0_real at its noised samples is the gradient that moves it

and, where it has a weight, a discriminator of the student's clips and filmed ones (discriminator.py).

Warm-up, student alone: its velocity at its own noise levels is regressed to the teacher's mean velocity up to
the next one, with the weight on the lips. Then, in turn, several steps of its auxiliary networks, the fake
score and the discriminator, and one of the student. The student's samples are made by the very sampler that
dubs, stopped at a random one of its steps and, where it dubs in several passes, in a random one of these: the
reference is then what it made before.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from common.data.dataset import ShardDataset
from common.models.package_info import read_info
from common.training.conditioning import batch_conditions
from common.training.lip_window import draw_lip_window
from common.training.loading import MicroBatch
from common.training.record import short_name
from common.training.start import starting_model
from common.training.strategy import SampleLosses
from stage2_dubber.distillation.config import StudentConfig
from stage2_dubber.distillation.draws import FAKE, draw_rows, plan_step, step_kind
from stage2_dubber.distillation.networks import FAKE_SCORE, STUDENT, TEACHER, DistillationNetworks
from stage2_dubber.distillation.objective import Objective, StudentInputs
from stage2_dubber.distillation.shared import SharedWeights, is_of, share_weights
from stage2_dubber.distillation.target import check_target, seen_sampler, target_conventions
from stage2_dubber.distillation.teacher import Teacher
from stage2_dubber.training.phase_adapter import add_phase_adapter
from stage2_dubber.training.strategy import EditorStrategy


class StudentStrategy(EditorStrategy):
    """The student's training, on the data path and the trainer of the editor."""

    config: StudentConfig
    base: SharedWeights | None = None

    def __init__(self, config: StudentConfig, dataset: ShardDataset) -> None:
        """Raises UserError where the teacher, the data and the configuration do not fit each other."""
        teacher = read_info(config.teacher)
        check_target(config, teacher)
        super().__init__(config, dataset)
        self.conventions = target_conventions(config.distill.target, teacher.conventions)
        self.teacher = self._teacher()
        self.record |= {"distill": self._settings() | {"teacher": short_name(config.distill.teacher)}}
        self.objective = Objective(config.distill, config.train, self.teacher, seen_sampler(config.diffusion))

    def _teacher(self) -> Teacher:
        config, package = self.config, self.start.package
        if config.distill.shared_weights:
            assert package is not None
            return Teacher.sharing(package, config.train.mixed_precision, self._teacher_at)
        speech = (config.speech.encoder, self.speech_fingerprint)
        vae = self.start.codec.fingerprint
        return Teacher.load(config.teacher, config.train.mixed_precision, vae, speech)

    def _teacher_at(self, sigma: float) -> None:
        if self.base is not None:
            self.base.at(sigma)

    def build_model(self) -> nn.Module:
        student = starting_model(self.start, self.config.model)
        adapter = add_phase_adapter(student, self.config.phase, self.start.adapters)
        if adapter is not None:
            self.adapters = (adapter,)
        distill = self.config.distill
        if distill.shared_weights:
            fake = FAKE_SCORE if distill.matching_weight else None
            self.base = share_weights(student, self.config.phase, Path(self.config.teacher), fake)
        return DistillationNetworks(student, self.config.model, distill, self.base)

    def is_packaged(self, name: str) -> bool:
        own = name.startswith(f"{STUDENT}.")
        return own and (self.base is None or is_of(STUDENT, name))

    def trains_packaged(self, step: int) -> bool:
        return step_kind(self.config.distill, step) != FAKE

    def rate_at(self, step: int) -> float:
        return 1.0 if self.trains_packaged(step) else self.config.distill.auxiliary_rate

    def prepare(self, micro: MicroBatch, device: torch.device) -> Any:
        batch = self.batch(micro, device)
        self.teacher.to(device)
        distill, seed = self.config.distill, self.train.seed
        passes = self.config.diffusion.passes
        plan = plan_step(micro.draws[0], distill, self.train.motion_probability, seed, passes)
        window = draw_lip_window(batch, micro.draws, self.train, self.patch_size)
        if window is not None:
            batch = window.of(batch)
        target = batch.target_latents
        given = target[:, :, : self.geometry.motion_latents] if plan.motion else None
        offset = None if window is None else window.offset
        conditions = replace(batch_conditions(batch, self.text), motion=given, offset=offset)
        rows = draw_rows(micro.draws, distill, self.teacher.sampler.flow, target, seed)
        return StudentInputs(plan, batch, conditions, rows)

    def loss(self, model: nn.Module, inputs: Any) -> SampleLosses:
        if self.base is None:
            return self.objective(model, inputs)
        # Through the wrapped model: where processes share the weights, it alone can gather them.
        losses = replace(self.objective, teacher=self.teacher.through(partial(model, TEACHER)))(model, inputs)
        # The backward pass computes checkpointed blocks again.
        self.base.become(FAKE_SCORE if inputs.plan.kind == FAKE else STUDENT)
        return losses

    def dubber(self, wrapped: Any, model: nn.Module) -> tuple[Any, nn.Module]:
        assert isinstance(model, DistillationNetworks)
        return partial(wrapped, STUDENT), model.student

    def identity(self) -> dict[str, Any]:
        return {
            **super().identity(),
            # The teacher, too, is not in the checkpoint.
            "teacher": self.teacher.fingerprint,
            "distill": self._settings(),
        }

    def save_package(self, model: nn.Module, folder: Path) -> None:
        assert isinstance(model, DistillationNetworks)
        super().save_package(model.student, folder)

    def _settings(self) -> dict[str, Any]:
        """All of the section but a path."""
        return {name: value for name, value in asdict(self.config.distill).items() if name != "teacher"}
