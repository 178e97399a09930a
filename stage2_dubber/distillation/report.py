"""What a distillation amounts to, for --dry-run."""

from __future__ import annotations

from collections import Counter

from common.diffusion.guidance import build_guidance
from common.models.package_info import read_info
from stage2_dubber.distillation.config import DistillConfig, StudentConfig
from stage2_dubber.distillation.draws import FAKE, STUDENT, WARMUP, step_kind


def distillation_numbers(config: StudentConfig) -> str:
    """A table of the teacher, the kinds of steps and the forward passes that each makes per sample.

    Raises:
        UserError: the teacher is no model package.
    """
    distill, info = config.distill, read_info(config.teacher)
    teacher = info.diffusion
    branches = len(build_guidance(teacher).weights(1.0))
    kinds = Counter(step_kind(distill, step) for step in range(config.train.max_steps))
    mean_steps = sum(distill.steps) / len(distill.steps)
    before = (config.diffusion.passes - 1) / 2 * mean_steps
    rollout = before + (mean_steps - 1) / 2
    again = f"{before:g} of the student, " if before else ""
    frozen = {
        WARMUP: f"{again}{distill.teacher_substeps * branches} of the teacher",
        FAKE: f"{rollout + 1:g} of the student",
        STUDENT: ", ".join([f"{rollout:g} of the student", *_asked_by_the_student(distill, branches)]),
    }
    rows = [
        (
            "teacher",
            f"phase {info.phase}: {teacher.num_steps} steps with reference scale "
            f"{teacher.reference_scale:g}, audio scale {teacher.audio_scale:g}, {branches} model calls each",
        ),
        ("student", f"{_passes(config)}{' or '.join(map(str, distill.steps))} steps, one model call each"),
    ]
    rows += [
        (f"{kind} steps", f"{kinds[kind]:,}; forward passes without gradient: {frozen[kind]}")
        for kind in (WARMUP, FAKE, STUDENT)
        if kinds[kind]
    ]
    width = max(len(label) for label, _ in rows)
    return "\n".join(f"{label:<{width}}  {value}" for label, value in rows)


def _asked_by_the_student(distill: DistillConfig, branches: int) -> list[str]:
    """Forward passes of other networks that a step of the student makes."""
    of_teacher = branches * (
        bool(distill.matching_weight) + distill.teacher_substeps * bool(distill.teacher_weight)
    )
    calls = {"teacher": of_teacher, "fake score": bool(distill.matching_weight)}
    return [f"{count:d} of the {name}" for name, count in calls.items() if count]


def _passes(config: StudentConfig) -> str:
    count = config.diffusion.passes
    return "" if count == 1 else f"{count} passes of "
