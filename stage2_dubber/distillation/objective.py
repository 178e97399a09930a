"""What the networks of a distillation learn from one micro-batch (strategy.py says what they are)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from common.data.batch import DubBatch
from common.diffusion.flow import FlowMatching
from common.diffusion.sampler import EulerSampler
from common.models.conditions import ModelConditions
from common.training.config import FlowTrainConfig
from common.training.losses import region_weights, weighted_flow_loss, with_gradient
from common.training.strategy import SampleLosses
from stage2_dubber.distillation.config import DistillConfig
from stage2_dubber.distillation.discriminator import (
    discriminator_inputs,
    discriminator_loss,
    student_gradient,
)
from stage2_dubber.distillation.draws import FAKE, WARMUP, RowDraws, StepPlan
from stage2_dubber.distillation.losses import matching_gradient, matching_loss, root_mean_square
from stage2_dubber.distillation.networks import AUXILIARY, DISCRIMINATOR, FAKE_SCORE, STUDENT, by_itself
from stage2_dubber.distillation.teacher import Teacher
from stage2_dubber.training.own_references import others_speech


@dataclass(frozen=True)
class StudentInputs:
    """One micro-batch of B samples."""

    plan: StepPlan
    batch: DubBatch
    conditions: ModelConditions
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


@dataclass(frozen=True)
class Objective:
    """The losses of all kinds of steps; ``sampler`` is the student's."""

    distill: DistillConfig
    train: FlowTrainConfig
    teacher: Teacher
    sampler: EulerSampler

    def __call__(self, model: nn.Module, inputs: StudentInputs) -> SampleLosses:
        kind, inputs = inputs.plan.kind, self.in_pass(model, inputs)
        if kind == WARMUP:
            return self._warm_up(model, inputs)
        return self._fit_auxiliary(model, inputs) if kind == FAKE else self._learn(model, inputs)

    def _warm_up(self, model: nn.Module, inputs: StudentInputs) -> SampleLosses:
        """Trajectory distillation from noised real clips (sigma = 1: from pure noise)."""
        plan, conditions, noise = inputs.plan, inputs.conditions, inputs.rows.noise
        sampler, sigma = self._at(plan)
        clean = inputs.batch.target_latents
        latents = sampler.shown((1 - sigma) * clean + sigma * noise, sigma, noise, conditions)
        velocity = sampler.velocity(partial(model, STUDENT), latents, sigma, conditions)
        loss = self._to_teacher(inputs, latents, velocity)
        return SampleLosses(loss, torch.full_like(loss, sigma), {"warmup": loss.detach()})

    def _fit_auxiliary(self, model: nn.Module, inputs: StudentInputs) -> SampleLosses:
        """Flow matching of the fake score, and a step of the discriminator, on the student's samples."""
        rows, conditions = inputs.rows, inputs.conditions
        with torch.no_grad():
            sample = self.rollout(model, inputs).sample
        asked: dict[str, dict[str, Any]] = {}
        if self.distill.matching_weight:
            asked[FAKE_SCORE] = self._scored(self._noised(sample, inputs), inputs)
        if self.distill.discriminator.weight:
            filmed, audio_features = inputs.batch.target_latents, conditions.audio_features
            asked[DISCRIMINATOR] = discriminator_inputs(
                filmed,
                sample,
                audio_features,
                others_speech(audio_features),
                rows.score_noise,
                self.distill.discriminator,
            )
        outputs = model(AUXILIARY, **asked)
        weights, losses = self._weights(inputs, self.train.face_weight, self.train.lip_weight), {}
        if FAKE_SCORE in outputs:
            wanted = FlowMatching.velocity_target(sample, rows.score_noise)
            given = _given(conditions, sample)
            losses["fake"] = weighted_flow_loss(outputs[FAKE_SCORE], wanted, weights, given)
        if DISCRIMINATOR in outputs:
            losses["discriminator"] = discriminator_loss(
                outputs[DISCRIMINATOR], weights, self.distill.discriminator
            )
        total = torch.stack([*losses.values()]).sum(dim=0)
        return SampleLosses(total, rows.score_sigma, {name: one.detach() for name, one in losses.items()})

    def _learn(self, model: nn.Module, inputs: StudentInputs) -> SampleLosses:
        """One step of the student: to the teacher's distribution, its path and the truth, past the
        discriminator."""
        distill, made = self.distill, self.rollout(model, inputs)
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
        if distill.discriminator.weight:
            with by_itself(model):
                values, gradient = student_gradient(
                    partial(model, DISCRIMINATOR), made.sample, inputs.conditions.audio_features, weights
                )
            weight = distill.discriminator.weight
            losses.append(with_gradient(weight * values, made.sample, weight * gradient))
            # Per value, not per mean: as the gradients of the other terms, whatever the size of a clip.
            slope = root_mean_square(gradient, generated) * gradient[0].numel()
            parts |= {"adversarial": values, "adversarial_gradient": slope}
        total = torch.stack(losses).sum(dim=0)
        return SampleLosses(total, torch.full_like(total, self._at(inputs.plan)[1]), parts)

    def _to_teacher(self, inputs: StudentInputs, latents: Tensor, velocity: Tensor) -> Tensor:
        """(B,) squared errors of the student's velocity to the teacher's mean one up to the next level."""
        plan, conditions, distill = inputs.plan, inputs.conditions, self.distill
        wanted = self.teacher.average_velocity(
            latents,
            inputs.rows.noise,
            conditions,
            self.sampler,
            plan.num_steps,
            plan.stop,
            distill.teacher_substeps,
        )
        weights = self._weights(inputs, distill.warmup_face_weight, distill.warmup_lip_weight)
        return weighted_flow_loss(velocity, wanted, weights, _given(conditions, velocity))

    @torch.no_grad()
    def _matching_gradient(
        self, model: nn.Module, sample: Tensor, inputs: StudentInputs, generated: Tensor
    ) -> Tensor:
        """(B, C, F, h, w): from the student's distribution to the teacher's."""
        noisy, sigma = self._noised(sample, inputs), inputs.rows.score_sigma
        guided = self.teacher.velocity(noisy, sigma, inputs.conditions)
        real = FlowMatching.estimate_clean(noisy, guided, sigma)
        fake = FlowMatching.estimate_clean(
            noisy, model(FAKE_SCORE, **self._scored(noisy, inputs)).float(), sigma
        )
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
        sampler, sigma = self._at(inputs.plan)
        student = partial(model, STUDENT)
        latents = sampler.run(student, noise, noise, conditions, 0, stop)
        latents = sampler.shown(latents, sigma, noise, conditions)
        velocity = sampler.velocity(student, latents, sigma, conditions)
        return Rollout(latents, velocity, sampler.finished(latents - sigma * velocity, noise, conditions))

    def _scored(self, noisy: Tensor, inputs: StudentInputs) -> dict[str, Any]:
        """Arguments of the fake score, fully conditioned: the student has no guidance."""
        timestep = FlowMatching.model_timestep(inputs.rows.score_sigma)
        return {"latents": noisy, "timestep": timestep, "conditions": inputs.conditions}

    def _noised(self, sample: Tensor, inputs: StudentInputs) -> Tensor:
        """The samples at ``score_sigma``; given frames stay clean, as both scores know them."""
        noisy = FlowMatching.add_noise(sample, inputs.rows.score_noise, inputs.rows.score_sigma)
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


def _given(conditions: ModelConditions, like: Tensor) -> Tensor:
    """(B,) number of leading latent frames without a loss."""
    return torch.full((len(like),), conditions.motion_frames, device=like.device)
