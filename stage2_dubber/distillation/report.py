"""What a distillation amounts to, for --dry-run."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from common.diffusion.config import DiffusionConfig
from common.diffusion.guidance import build_guidance
from common.models.package_info import read_info
from common.training.config import Company
from stage2_dubber.distillation.config import TBDUB, DistillConfig, StudentConfig
from stage2_dubber.distillation.draws import FAKE, STUDENT, WARMUP, step_kind
from stage2_dubber.distillation.target import check_target


def company_of(config: StudentConfig) -> Company:
    """What the training holds and computes besides the student.

    Raises:
        UserError: the teacher is no model package, or its steps are not the student's.
    """
    distill, info = config.distill, read_info(config.teacher)
    check_target(config, info)
    kinds, calls = step_kinds(config), _Calls.of(config, info.diffusion)
    networks = 2 if distill.matching_weight else 1
    asked = sum(count * sum(calls.frozen(kind).values()) for kind, count in kinds.items())
    return Company(
        networks=networks,
        copies=1 if distill.shared_weights else networks,
        narrow=0 if distill.shared_weights else 1,
        forwards=asked / config.train.max_steps,
        at_once=calls.branches,
    )


def distillation_numbers(config: StudentConfig) -> str:
    """A table of the teacher, the kinds of steps and the forward passes that each makes per sample.

    Raises:
        UserError: the teacher is no model package.
    """
    distill, info = config.distill, read_info(config.teacher)
    teacher, calls, kinds = info.diffusion, _Calls.of(config, info.diffusion), step_kinds(config)
    rows = [
        (
            "teacher",
            f"phase {info.phase}: {teacher.num_steps} steps with reference scale "
            f"{teacher.reference_scale:g}, audio scale {teacher.audio_scale:g}, {calls.branches} model calls "
            "each",
        ),
        ("student", f"{_passes(config)}{' or '.join(map(str, distill.steps))} steps, one model call each"),
    ]
    if distill.target == TBDUB:
        rows.append(
            ("target", "TBDub's student: t = 1 and 1/2, motion latents in every window, border at the end")
        )
    if distill.shared_weights:
        rows.append(("weights", "one frozen copy: teacher, fake score and student differ in adapters"))
    for kind in (WARMUP, FAKE, STUDENT):
        if kinds[kind]:
            asked = ", ".join(f"{count:g} of the {name}" for name, count in calls.frozen(kind).items())
            rows.append((f"{kind} steps", f"{kinds[kind]:,}; forward passes without gradient: {asked}"))
    width = max(len(label) for label, _ in rows)
    return "\n".join(f"{label:<{width}}  {value}" for label, value in rows)


def step_kinds(config: StudentConfig) -> Counter[str]:
    """How many optimiser steps there are of each kind."""
    return Counter(step_kind(config.distill, step) for step in range(config.train.max_steps))


@dataclass(frozen=True)
class _Calls:
    """Forward passes without a gradient, on average.

    branches: of the teacher's guidance. before: of the student, in passes before the one that is looked at;
    rollout: with those in that one, up to the last.
    """

    distill: DistillConfig
    branches: int
    before: float
    rollout: float

    @classmethod
    def of(cls, config: StudentConfig, teacher: DiffusionConfig) -> _Calls:
        mean = sum(config.distill.steps) / len(config.distill.steps)
        before = (config.diffusion.passes - 1) / 2 * mean
        branches = len(build_guidance(teacher).weights(1.0))
        return cls(config.distill, branches, before, before + (mean - 1) / 2)

    def frozen(self, kind: str) -> dict[str, float]:
        """Network -> passes per sample in a step of this kind."""
        distill = self.distill
        if kind == WARMUP:
            teacher = float(distill.teacher_substeps * self.branches)
            return {**({"student": self.before} if self.before else {}), "teacher": teacher}
        if kind == FAKE:
            return {"student": self.rollout + 1}
        path = distill.teacher_substeps * bool(distill.teacher_weight)
        others = {
            "teacher": float(self.branches * (bool(distill.matching_weight) + path)),
            "fake score": float(bool(distill.matching_weight)),
        }
        return {"student": self.rollout, **{name: count for name, count in others.items() if count}}


def _passes(config: StudentConfig) -> str:
    count = config.diffusion.passes
    return "" if count == 1 else f"{count} passes of "
