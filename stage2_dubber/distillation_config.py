"""The configuration of the few-step student: stage 2 and one section more."""

from __future__ import annotations

from dataclasses import dataclass, field

from common.errors import UserError
from stage2_dubber.config import Stage2Config, check

PHASE = "student"


@dataclass
class DistillConfig:
    """How a student is made from a teacher, ``train.init_from`` (distillation.py).

    ``train.max_steps`` counts all three kinds of optimiser steps: ``warmup_steps`` first, then rounds of
    ``fake_steps`` steps of the fake score and one of the student.
    """

    steps: list[int] = field(default_factory=lambda: [2, 4])  # sampler steps that the student shall do with
    warmup_steps: int = 500
    warmup_face_weight: float = 0.3
    warmup_lip_weight: float = 2.0  # few steps blur the lips first
    teacher_substeps: int = 4  # of the teacher for one of the student, during warm-up
    fake_steps: int = 5
    score_range: list[float] = field(default_factory=lambda: [0.02, 0.98])  # t of scoring, before the shift
    truth_weight: float = 0.0  # squared error of the student's lips to the real clip's, beside the matching

    def __post_init__(self) -> None:
        if not self.steps or min(self.steps) < 1:
            raise UserError(f"distill.steps is {self.steps}; give numbers of steps such as [2, 4].")
        for name, least in (("warmup_steps", 0), ("teacher_substeps", 1), ("fake_steps", 1)):
            if getattr(self, name) < least:
                raise UserError(f"distill.{name} is {getattr(self, name)}; it must be at least {least}.")
        for name in ("warmup_face_weight", "warmup_lip_weight", "truth_weight"):
            if getattr(self, name) < 0:
                raise UserError(f"distill.{name} is {getattr(self, name)}; it must not be negative.")
        span = self.score_range
        if len(span) != 2 or not 0 < span[0] < span[1] <= 1:
            raise UserError(f"distill.score_range is {span}; give two rising numbers in (0, 1].")


@dataclass
class StudentConfig(Stage2Config):
    """Root of the distillation. ``diffusion`` is the student's: no guidance."""

    distill: DistillConfig = field(default_factory=DistillConfig)


def check_student(config: StudentConfig) -> StudentConfig:
    """Refuse what contradicts a student without guidance.

    Raises:
        UserError: naming the key and what it must be.
    """
    if not config.train.init_from:
        raise UserError("train.init_from is empty; name the package of the trained editor, the teacher.")
    if config.train.keep_adapters:
        raise UserError(
            "train.keep_adapters must be false: adapters that act in a range of noise levels mean nothing to "
            "a student of a few steps, which learns what they do from the teacher."
        )
    train, diffusion, phase = config.train, config.diffusion, config.phase
    for name, value, wanted in (
        ("phase.name", phase.name, PHASE),
        ("phase.active_range", list(phase.active_range), [0.0, 1.0]),
        ("phase.sync.weight", phase.sync.weight, 0),
        ("train.drop_both", train.drop_both, 0),
        ("train.drop_audio", train.drop_audio, 0),
        ("diffusion.reference_scale", diffusion.reference_scale, 1),
        ("diffusion.audio_scale", diffusion.audio_scale, 1),
    ):
        if value != wanted:
            raise UserError(
                f"{name} is {value}, but a student without guidance needs {wanted}: lay configs/distill.yaml "
                "over the model's configuration."
            )
    if diffusion.num_steps not in config.distill.steps:
        raise UserError(
            f"diffusion.num_steps is {diffusion.num_steps}, which is none of distill.steps "
            f"{config.distill.steps}: the package would dub with steps that were never trained."
        )
    return check(config)  # type: ignore[return-value]
