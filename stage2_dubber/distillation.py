"""Distillation of the guided editor into a student of a few steps without guidance (DMD2, Yin et al. 2024).

Networks of one kind, started from packages:

    teacher   frozen; its guided velocity says where the real distribution lies
    fake      follows the student's samples by flow matching; says where the student's distribution lies
    student   dubs; x0_fake - x0_real at its noised samples is the gradient that moves it

and, where it has a weight, a critic that tells the student's clips from filmed ones (distillation_critic.py).

Warm-up, student alone: its velocity at its own noise levels is regressed to the teacher's mean velocity up
to the next one, with the weight on the lips. Then, in turn, several steps of its opponents, the fake score
and the critic, and one of the student. The student's samples are made by the very sampler that dubs, stopped
at a random one of its steps and, where it dubs in several passes, in a random one of these: the reference is
then what it made before.
"""

from __future__ import annotations

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
from common.training.lip_window import draw_lip_window
from common.training.loading import MicroBatch
from common.training.losses import region_weights, weighted_flow_loss
from common.training.start import add_phase_adapter, starting_model
from common.training.strategy import SampleLosses
from stage2_dubber.distillation_config import StudentConfig
from stage2_dubber.distillation_critic import critic_loss, lesson, student_gradient, with_gradient
from stage2_dubber.distillation_draws import FAKE, WARMUP, RowDraws, StepPlan, draw_rows, plan_step, step_kind
from stage2_dubber.distillation_losses import matching_gradient, matching_loss, root_mean_square
from stage2_dubber.distillation_networks import CRITIC, OPPONENTS, STUDENT, StudentAndOpponents, by_itself
from stage2_dubber.distillation_networks import FAKE as FAKE_SCORE
from stage2_dubber.distillation_teacher import Teacher
from stage2_dubber.own_references import others_speech
from stage2_dubber.strategy import EditorStrategy


@dataclass(frozen=True)
class StudentInputs:
    """One micro-batch of B samples."""

    plan: StepPlan
    batch: DubBatch
    conditions: Conditions
    rows: RowDraws


@dataclass(frozen=True)
class Rollout:
    """What the student does at one of its steps, each (B, C, F, h, w)."""

    latents: Tensor
    """What it sees."""
    velocity: Tensor
    """What it says."""
    sample: Tensor
    """The clean clip that this makes."""


class StudentStrategy(EditorStrategy):
    """The student's training, on the data path and the trainer of the editor."""

    packaged = f"{STUDENT}."
    config: StudentConfig

    def __init__(self, config: StudentConfig, dataset: ShardDataset) -> None:
        """Raises UserError where the teacher, the data and the configuration do not fit each other."""
        teacher = config.distill.teacher or config.train.init_from
        settings = read_info(teacher).diffusion
        for name in ("shift", "border"):
            ours, theirs = getattr(config.diffusion, name), getattr(settings, name)
            if ours != theirs:
                raise UserError(
                    f"diffusion.{name} is {ours} but the teacher in {teacher} has {theirs}: the "
                    f"student takes steps of the teacher's path, set diffusion.{name}={theirs}."
                )
        self.teacher = Teacher(teacher, config.train.mixed_precision)
        super().__init__(config, dataset)
        self.teacher.check(self.start.codec.fingerprint, self.speech_fingerprint)
        self.record |= {"distill": asdict(config.distill)}
        self.sampler = build_sampler(config.diffusion)

    def build_model(self) -> nn.Module:
        student = starting_model(self.start, self.config.model)
        adapter = add_phase_adapter(student, self.config.phase, self.start.adapters)
        if adapter is not None:
            self.adapters = (adapter,)
        return StudentAndOpponents(student, self.config.model, self.config.distill)

    def trained_at(self, step: int) -> str:
        return self.packaged if self._is_students(step) else f"{OPPONENTS}."

    def rate_at(self, step: int) -> float:
        return 1.0 if self._is_students(step) else self.config.distill.opponents_rate

    def _is_students(self, step: int) -> bool:
        return step_kind(self.config.distill, step) != FAKE

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
        return self._fit_opponents(model, inputs) if kind == FAKE else self._learn(model, inputs)

    def dubber(self, wrapped: Any, model: nn.Module) -> tuple[Any, nn.Module]:
        assert isinstance(model, StudentAndOpponents)
        return partial(wrapped, STUDENT), model.student

    def identity(self) -> dict[str, Any]:
        return {
            **super().identity(),
            # The teacher, too, is not in the checkpoint.
            "teacher": self.teacher.fingerprint,
            "distill": asdict(self.config.distill),
        }

    def save_package(self, model: nn.Module, folder: Path) -> None:
        assert isinstance(model, StudentAndOpponents)
        super().save_package(model.student, folder)

    def _warm_up(self, model: nn.Module, inputs: StudentInputs) -> SampleLosses:
        """Trajectory distillation from noised real clips (t = 1: from pure noise)."""
        plan, conditions, noise = inputs.plan, inputs.conditions, inputs.rows.noise
        sampler, t = self._at(plan)
        clean = inputs.batch.target_latents
        latents = sampler.shown((1 - t) * clean + t * noise, t, noise, conditions)
        velocity = sampler.velocity(partial(model, STUDENT), latents, t, conditions)
        loss = self._to_teacher(inputs, latents, velocity)
        return SampleLosses(loss, torch.full_like(loss, t), {"warmup": loss.detach()})

    def _fit_opponents(self, model: nn.Module, inputs: StudentInputs) -> SampleLosses:
        """Flow matching of the fake score, and the critic's lesson, on the student's samples."""
        distill, rows, conditions = self.config.distill, inputs.rows, inputs.conditions
        with torch.no_grad():
            sample = self.rollout(model, inputs).sample
        asked: dict[str, dict[str, Any]] = {}
        if distill.matching_weight:
            asked["fake"] = self._scored(self._noised(sample, inputs), inputs)
        if distill.critic.weight:
            filmed, speech = inputs.batch.target_latents, conditions.audio_features
            others = others_speech(speech)
            asked["critic"] = lesson(filmed, sample, speech, others, rows.score_noise, distill.critic)
        said = model(OPPONENTS, **asked)
        weights, losses = self._weights(inputs, self.train.face_weight, self.train.lip_weight), {}
        if "fake" in said:
            wanted = FlowMatching.velocity_target(sample, rows.score_noise)
            losses["fake"] = weighted_flow_loss(said["fake"], wanted, weights, _given(conditions, sample))
        if "critic" in said:
            losses["critic"] = critic_loss(said["critic"], weights, distill.critic)
        total = torch.stack([*losses.values()]).sum(dim=0)
        return SampleLosses(total, rows.score_t, {name: one.detach() for name, one in losses.items()})

    def _learn(self, model: nn.Module, inputs: StudentInputs) -> SampleLosses:
        """One step of the student: to the teacher's distribution, its path and the truth, past the critic."""
        distill, made = self.config.distill, self.rollout(model, inputs)
        generated = self.sampler.generated(made.sample, inputs.conditions)
        given = _given(inputs.conditions, made.sample)
        weights = self._weights(inputs, self.train.face_weight, self.train.lip_weight)
        losses: list[Tensor] = []
        parts: dict[str, Tensor] = {}
        if distill.matching_weight:
            gradient = self._matching_gradient(model, made.sample, inputs, generated)
            loss = matching_loss(made.sample, gradient, weights, given)
            losses.append(distill.matching_weight * loss)
            parts |= {"dmd": loss.detach(), "dmd_gradient": root_mean_square(gradient, generated)}
        if distill.teacher_weight:
            loss = distill.teacher_weight * self._to_teacher(inputs, made.latents, made.velocity)
            losses.append(loss)
            parts["teacher"] = loss.detach()
        if distill.truth_weight:
            lips = inputs.batch.lip_mask[:, None] * generated
            loss = distill.truth_weight * weighted_flow_loss(
                made.sample, inputs.batch.target_latents, lips, given
            )
            losses.append(loss)
            parts["truth"] = loss.detach()
        if distill.critic.weight:
            with by_itself(model):
                values, gradient = student_gradient(
                    partial(model, CRITIC), made.sample, inputs.conditions.audio_features, weights
                )
            weight = distill.critic.weight
            losses.append(with_gradient(weight * values, made.sample, weight * gradient))
            # Per value, not per mean: as the gradients of the other terms, whatever the size of a clip.
            slope = root_mean_square(gradient, generated) * gradient[0].numel()
            parts |= {"adversarial": values, "adversarial_gradient": slope}
        total = torch.stack(losses).sum(dim=0)
        return SampleLosses(total, torch.full_like(total, self._at(inputs.plan)[1]), parts)

    def _to_teacher(self, inputs: StudentInputs, latents: Tensor, velocity: Tensor) -> Tensor:
        """(B,) squared errors of the student's velocity to the teacher's mean one up to the next level."""
        plan, conditions, distill = inputs.plan, inputs.conditions, self.config.distill
        wanted = self.teacher.average_velocity(
            latents, inputs.rows.noise, conditions, plan.num_steps, plan.stop, distill.teacher_substeps
        )
        weights = self._weights(inputs, distill.warmup_face_weight, distill.warmup_lip_weight)
        return weighted_flow_loss(velocity, wanted, weights, _given(conditions, velocity))

    @torch.no_grad()
    def _matching_gradient(
        self, model: nn.Module, sample: Tensor, inputs: StudentInputs, generated: Tensor
    ) -> Tensor:
        """(B, C, F, h, w): from the student's distribution to the teacher's."""
        noisy, t = self._noised(sample, inputs), inputs.rows.score_t
        guided = self.teacher.velocity(noisy, t, inputs.conditions)
        real = FlowMatching.estimate_clean(noisy, guided, t)
        fake = FlowMatching.estimate_clean(noisy, model(FAKE_SCORE, **self._scored(noisy, inputs)).float(), t)
        return matching_gradient(sample, real, fake, generated)

    @torch.no_grad()
    def in_pass(self, model: nn.Module, inputs: StudentInputs) -> StudentInputs:
        """The inputs with the reference that the student sees in the pass that is planned."""
        plan, noise, conditions = inputs.plan, inputs.rows.noise, inputs.conditions
        if not plan.passes_before:
            return inputs
        sampler = replace(self.sampler, num_steps=plan.num_steps, passes=plan.passes_before)
        made = sampler.sample(partial(model, STUDENT), noise, conditions)
        reference = made.to(inputs.batch.reference_latents)
        return replace(inputs, conditions=replace(conditions, reference=reference))

    def rollout(self, model: nn.Module, inputs: StudentInputs) -> Rollout:
        """The student's samples after step ``plan.stop``; gradients of that step alone."""
        conditions, noise, stop = inputs.conditions, inputs.rows.noise, inputs.plan.stop
        sampler, t = self._at(inputs.plan)
        student = partial(model, STUDENT)
        latents = sampler.run(student, noise, noise, conditions, 0, stop)
        latents = sampler.shown(latents, t, noise, conditions)
        velocity = sampler.velocity(student, latents, t, conditions)
        return Rollout(latents, velocity, sampler.finished(latents - t * velocity, noise, conditions))

    def _scored(self, noisy: Tensor, inputs: StudentInputs) -> dict[str, Any]:
        """Arguments of the fake score, fully conditioned: the student has no guidance."""
        conditions = inputs.conditions
        return {
            "latents": noisy,
            "timestep": FlowMatching.model_timestep(inputs.rows.score_t),
            "reference": conditions.reference,
            "audio_features": conditions.audio_features,
            "context": conditions.context,
            "motion_frames": conditions.motion_frames,
            "place": conditions.place,
        }

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
