"""Distillation of the guided editor into a student of a few steps without guidance (DMD2, Yin et al. 2024).

Three networks of one kind, all started from the teacher's package:

    teacher   frozen; its guided velocity says where the real distribution lies
    fake      follows the student's samples by flow matching; says where the student's distribution lies
    student   dubs; x0_fake - x0_real at its noised samples is the gradient that moves it

Warm-up, student alone: its velocity at its own noise levels is regressed to the teacher's mean velocity up to
the next one, with the weight on the lips. Then, in turn, several steps of the fake score and one of the
student. The student's samples are made by the very sampler that dubs, stopped at a random one of its steps
and, where it dubs in several passes, in a random one of these: the reference is then what it made before.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common.data.batch import DubBatch
from common.data.dataset import ShardDataset
from common.diffusion.flow import FlowMatching
from common.diffusion.sampler import Conditions, EulerSampler, build_sampler
from common.errors import UserError
from common.models.package import read_info
from common.models.transformer import DubbingTransformer
from common.training.lip_window import draw_lip_window
from common.training.loading import MicroBatch
from common.training.losses import region_weights, weighted_flow_loss
from common.training.start import add_phase_adapter, starting_model
from common.training.strategy import SampleLosses
from stage2_dubber.distillation_config import StudentConfig
from stage2_dubber.distillation_draws import FAKE, WARMUP, RowDraws, StepPlan, draw_rows, plan_step, step_kind
from stage2_dubber.distillation_losses import matching_gradient, matching_loss, root_mean_square
from stage2_dubber.distillation_teacher import Teacher
from stage2_dubber.strategy import EditorStrategy


class StudentAndFake(nn.Module):
    """The two networks that are trained, in one module for the trainer; calls name the one that is meant."""

    # What sharding asks of a model.
    _no_split_modules = DubbingTransformer._no_split_modules
    _keep_in_fp32_modules = DubbingTransformer._keep_in_fp32_modules

    def __init__(self, student: DubbingTransformer) -> None:
        super().__init__()
        self.student, self.fake = student, deepcopy(student)

    def forward(self, net: str = "student", **inputs: Any) -> Tensor:
        return self.get_submodule(net)(**inputs)


@dataclass(frozen=True)
class StudentInputs:
    """One micro-batch of B samples."""

    plan: StepPlan
    batch: DubBatch
    conditions: Conditions
    rows: RowDraws


class StudentStrategy(EditorStrategy):
    """The student's training, on the data path and the trainer of the editor."""

    packaged = "student."
    config: StudentConfig

    def __init__(self, config: StudentConfig, dataset: ShardDataset) -> None:
        """Raises UserError where the teacher, the data and the configuration do not fit each other."""
        teacher = read_info(config.train.init_from).diffusion
        for name in ("shift", "border"):
            ours, theirs = getattr(config.diffusion, name), getattr(teacher, name)
            if ours != theirs:
                raise UserError(
                    f"diffusion.{name} is {ours} but the teacher in train.init_from has {theirs}: the "
                    f"student takes steps of the teacher's path, set diffusion.{name}={theirs}."
                )
        self.teacher = Teacher(config.train)
        super().__init__(config, dataset)
        self.record |= {"distill": asdict(config.distill)}
        self.sampler = build_sampler(config.diffusion)

    def build_model(self) -> nn.Module:
        student = starting_model(self.start, self.config.model)
        adapter = add_phase_adapter(student, self.config.phase, self.start.adapters)
        if adapter is not None:
            self.adapters = (adapter,)
        return StudentAndFake(student)

    def trained_at(self, step: int) -> str:
        return "fake." if step_kind(self.config.distill, step) == FAKE else self.packaged

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
        context = None if self.context is None else self.context.to(target)
        place = None if window is None else window.place
        conditions = Conditions(
            batch.reference_latents, batch.audio_features, context, motion=given, place=place
        )
        rows = draw_rows(micro.draws, distill, self.flow, target, seed)
        return StudentInputs(plan, batch, conditions, rows)

    def loss(self, model: nn.Module, inputs: Any) -> SampleLosses:
        kind, inputs = inputs.plan.kind, self.in_pass(model, inputs)
        if kind == WARMUP:
            return self._warm_up(model, inputs)
        return self._fit_fake(model, inputs) if kind == FAKE else self._match(model, inputs)

    def dubber(self, wrapped: Any, model: nn.Module) -> tuple[Any, nn.Module]:
        assert isinstance(model, StudentAndFake)
        return partial(wrapped, "student"), model.student

    def identity(self) -> dict[str, Any]:
        return {
            **super().identity(),
            # The teacher, too, is not in the checkpoint.
            "teacher": self.teacher.fingerprint,
            "distill": asdict(self.config.distill),
        }

    def save_package(self, model: nn.Module, folder: Path) -> None:
        assert isinstance(model, StudentAndFake)
        super().save_package(model.student, folder)

    def _warm_up(self, model: nn.Module, inputs: StudentInputs) -> SampleLosses:
        """Trajectory distillation from noised real clips (t = 1: from pure noise)."""
        plan, conditions, noise = inputs.plan, inputs.conditions, inputs.rows.noise
        sampler, t = self._at(plan)
        clean = inputs.batch.target_latents
        latents = sampler.shown((1 - t) * clean + t * noise, t, noise, conditions)
        substeps = self.config.distill.teacher_substeps
        wanted = self.teacher.average_velocity(
            latents, noise, conditions, plan.num_steps, plan.stop, substeps
        )
        velocity = sampler.velocity(partial(model, "student"), latents, t, conditions)
        distill = self.config.distill
        weights = self._weights(inputs, distill.warmup_face_weight, distill.warmup_lip_weight)
        loss = weighted_flow_loss(velocity, wanted, weights, _given(conditions, velocity))
        return SampleLosses(loss, torch.full_like(loss, t), {"warmup": loss.detach()})

    def _fit_fake(self, model: nn.Module, inputs: StudentInputs) -> SampleLosses:
        """Flow matching of the fake score on the student's samples."""
        with torch.no_grad():
            sample = self.sample(model, inputs)
        velocity = self._fake(model, self._noised(sample, inputs), inputs)
        wanted = FlowMatching.velocity_target(sample, inputs.rows.score_noise)
        weights = self._weights(inputs, self.train.face_weight, self.train.lip_weight)
        loss = weighted_flow_loss(velocity, wanted, weights, _given(inputs.conditions, sample))
        return SampleLosses(loss, inputs.rows.score_t, {"fake": loss.detach()})

    def _match(self, model: nn.Module, inputs: StudentInputs) -> SampleLosses:
        """One step of the student towards the teacher's distribution."""
        sample, t = self.sample(model, inputs), inputs.rows.score_t
        generated = self.sampler.generated(sample, inputs.conditions)
        with torch.no_grad():
            noisy = self._noised(sample, inputs)
            guided = self.teacher.velocity(noisy, t, inputs.conditions)
            real = FlowMatching.estimate_clean(noisy, guided, t)
            fake = FlowMatching.estimate_clean(noisy, self._fake(model, noisy, inputs), t)
            gradient = matching_gradient(sample, real, fake, generated)
        given = _given(inputs.conditions, sample)
        weights = self._weights(inputs, self.train.face_weight, self.train.lip_weight)
        loss = matching_loss(sample, gradient, weights, given)
        parts = {"dmd": loss.detach(), "dmd_gradient": root_mean_square(gradient, generated)}
        if truth_weight := self.config.distill.truth_weight:
            lips = inputs.batch.lip_mask[:, None] * generated
            truth = truth_weight * weighted_flow_loss(sample, inputs.batch.target_latents, lips, given)
            loss, parts["truth"] = loss + truth, truth.detach()
        return SampleLosses(loss, torch.full_like(loss, self._at(inputs.plan)[1]), parts)

    @torch.no_grad()
    def in_pass(self, model: nn.Module, inputs: StudentInputs) -> StudentInputs:
        """The inputs with the reference that the student sees in the pass that is planned."""
        plan, noise, conditions = inputs.plan, inputs.rows.noise, inputs.conditions
        if not plan.passes_before:
            return inputs
        sampler = replace(self.sampler, num_steps=plan.num_steps, passes=plan.passes_before)
        made = sampler.sample(partial(model, "student"), noise, conditions)
        reference = made.to(inputs.batch.reference_latents)
        return replace(inputs, conditions=replace(conditions, reference=reference))

    def sample(self, model: nn.Module, inputs: StudentInputs) -> Tensor:
        """The student's clean clip (B, C, F, h, w) after step ``plan.stop``; gradients of that step alone."""
        conditions, noise, stop = inputs.conditions, inputs.rows.noise, inputs.plan.stop
        sampler, t = self._at(inputs.plan)
        student = partial(model, "student")
        latents = sampler.run(student, noise, noise, conditions, 0, stop)
        latents = sampler.shown(latents, t, noise, conditions)
        velocity = sampler.velocity(student, latents, t, conditions)
        return sampler.finished(latents - t * velocity, noise, conditions)

    def _fake(self, model: nn.Module, noisy: Tensor, inputs: StudentInputs) -> Tensor:
        """Velocity of the fake score, fully conditioned: the student has no guidance."""
        conditions = inputs.conditions
        velocity = model(
            "fake",
            latents=noisy,
            timestep=FlowMatching.model_timestep(inputs.rows.score_t),
            reference=conditions.reference,
            audio_features=conditions.audio_features,
            context=conditions.context,
            motion_frames=conditions.motion_frames,
            place=conditions.place,
        )
        return velocity.float()

    def _noised(self, sample: Tensor, inputs: StudentInputs) -> Tensor:
        """The samples at ``score_t``; given frames stay clean, as both scores know them."""
        noisy = FlowMatching.add_noise(sample, inputs.rows.score_noise, inputs.rows.score_t)
        frames = inputs.conditions.motion_frames
        return torch.cat((sample[:, :, :frames], noisy[:, :, frames:]), dim=2)

    def _weights(self, inputs: StudentInputs, face: float, lip: float) -> Tensor:
        """(B, 1, F, h, w) weights of the regions, zero in what the student does not make."""
        batch = inputs.batch
        generated = self.sampler.generated(batch.target_latents, inputs.conditions)
        return region_weights(batch.face_mask, batch.lip_mask, face, lip) * generated

    def _at(self, plan: StepPlan) -> tuple[EulerSampler, float]:
        """The student's sampler of this step and the noise level that it stops at."""
        sampler = replace(self.sampler, num_steps=plan.num_steps)
        return sampler, float(sampler.flow.sigmas(plan.num_steps)[plan.stop])


def _given(conditions: Conditions, like: Tensor) -> Tensor:
    """(B,) number of leading latent frames without a loss."""
    return torch.full((len(like),), conditions.motion_frames, device=like.device)
