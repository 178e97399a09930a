"""The configuration of the few-step student: stage 2 and one section more."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from common.checks import above, at_least, one_of
from common.errors import UserError
from common.training.config import CLIP
from stage2_dubber.config import Stage2Config, check

PHASE = "student"
TBDUB = "tbdub"


@dataclass
class DiscriminatorConfig:
    """A discriminator of the student's latents, trained against it in the rounds (discriminator.py)."""

    weight: float = 0.0  # of its verdict in the student's loss; 0: there is none
    width: int = 12  # channels of each of the 8 groups
    num_layers: int = 4
    wrong_speech: float = 0.5  # weight of filmed lips with another's speech, which it shall refuse as well
    noise: float = 0.05  # deviation of the noise that must not change its verdict
    penalty: float = 10.0  # weight of the squared change that it makes

    def __post_init__(self) -> None:
        for name in ("width", "num_layers"):
            at_least(f"distill.discriminator.{name}", getattr(self, name), 1)
        for name in ("weight", "wrong_speech", "noise", "penalty"):
            at_least(f"distill.discriminator.{name}", getattr(self, name), 0)


@dataclass
class DistillConfig:
    """How a student is made from a teacher (strategy.py).

    ``train.max_steps`` counts all kinds of optimiser steps: ``warmup_steps`` of the student first, then
    ``auxiliary_steps`` of the fake-score network and the discriminator (``discriminator``), then rounds of
    ``fake_steps`` of theirs and one of the student.
    """

    teacher: str = ""  # its package; empty: the one that the student starts as, train.init_from
    shared_weights: bool = False  # one frozen copy for teacher, fake score and student; with phase.lora_rank
    target: str = "teacher"  # steps and windows as the teacher's | "tbdub": as of TBDub's student (target.py)
    steps: list[int] = field(default_factory=lambda: [2, 4])  # sampler steps that the student shall do with
    warmup_steps: int = 500
    warmup_face_weight: float = 0.3
    warmup_lip_weight: float = 2.0  # few steps blur the lips first
    teacher_substeps: int = 4  # of the teacher for one of the student
    auxiliary_steps: int = 0  # an untrained discriminator leads nowhere
    auxiliary_rate: float = 1.0  # times train.learning_rate (Heusel et al. 2017, two time scales)
    fake_steps: int = 5
    score_range: list[float] = field(default_factory=lambda: [0.02, 0.98])  # t of scoring, before the shift
    matching_weight: float = 1.0  # of the distribution matching in the rounds; 0: no fake score
    teacher_weight: float = 0.0  # in the rounds: squared error to the teacher's velocity where the student is
    truth_weight: float = 0.0  # in the rounds: squared error of the student's lips to the real clip's
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)

    def __post_init__(self) -> None:
        if not self.steps or min(self.steps) < 1:
            raise UserError(f"distill.steps is {self.steps}; give numbers of steps such as [2, 4].")
        for name, least in (
            ("warmup_steps", 0),
            ("auxiliary_steps", 0),
            ("teacher_substeps", 1),
            ("fake_steps", 1),
        ):
            at_least(f"distill.{name}", getattr(self, name), least)
        one_of("distill.target", self.target, ("teacher", TBDUB))
        above("distill.auxiliary_rate", self.auxiliary_rate, 0)
        weights = (
            "warmup_face_weight",
            "warmup_lip_weight",
            "matching_weight",
            "teacher_weight",
            "truth_weight",
        )
        for name in weights:
            at_least(f"distill.{name}", getattr(self, name), 0)
        if not any((self.matching_weight, self.teacher_weight, self.truth_weight, self.discriminator.weight)):
            raise UserError(
                "distill.matching_weight, teacher_weight, truth_weight and discriminator.weight are all 0: "
                "the student would have nothing to learn after its warm-up; set one of them."
            )
        span = self.score_range
        if len(span) != 2 or not 0 < span[0] < span[1] <= 1:
            raise UserError(f"distill.score_range is {span}; give two rising numbers in (0, 1].")

    @property
    def has_auxiliary(self) -> bool:
        """Whether there is a fake score or a discriminator; without, the student is trained alone."""
        return bool(self.matching_weight or self.discriminator.weight)


@dataclass
class StudentConfig(Stage2Config):
    """Root of the distillation. ``diffusion`` is the student's: no guidance."""

    distill: DistillConfig = field(default_factory=DistillConfig)

    @property
    def teacher(self) -> str:
        """The teacher's package."""
        return self.distill.teacher or self.train.init_from


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
    train, diffusion, phase, distill = config.train, config.diffusion, config.phase, config.distill
    if distill.shared_weights and not phase.lora_rank:
        raise UserError(
            "distill.shared_weights needs networks that are adapters of the same weights: set "
            "phase.lora_rank and phase.lora_targets."
        )
    if distill.shared_weights and distill.teacher not in ("", train.init_from):
        raise UserError(
            "distill.shared_weights means the weights of train.init_from, but distill.teacher is another "
            "package: leave it empty."
        )
    _refuse_others(
        "a student without guidance needs {}: lay configs/distill.yaml over the model's configuration",
        ("phase.name", phase.name, PHASE),
        ("phase.active_range", list(phase.active_range), [0.0, 1.0]),
        ("phase.sync.weight", phase.sync.weight, 0),
        ("phase.own_references", phase.own_references, 0),
        ("data.degraded_lips.resolution", list(config.data.degraded_lips.resolution), []),
        ("data.own_mouths", config.data.own_mouths, False),
        ("train.loss_region", train.loss_region, CLIP),
        ("train.drop_both", train.drop_both, 0),
        ("train.drop_audio", train.drop_audio, 0),
        ("diffusion.reference_scale", diffusion.reference_scale, 1),
        ("diffusion.audio_scale", diffusion.audio_scale, 1),
    )
    if distill.target == TBDUB:
        _refuse_others(
            "distill.target=tbdub needs {}: lay configs/distill_two_steps.yaml over the others",
            ("distill.steps", list(distill.steps), [2]),
            ("diffusion.shift", diffusion.shift, 1),
            ("diffusion.border_at_end", diffusion.border_at_end, True),
            ("diffusion.passes", diffusion.passes, 1),
            ("train.motion_probability", train.motion_probability, 1),
        )
    if diffusion.num_steps not in config.distill.steps:
        raise UserError(
            f"diffusion.num_steps is {diffusion.num_steps}, which is none of distill.steps "
            f"{config.distill.steps}: the package would dub with steps that were never trained."
        )
    return check(config)  # type: ignore[return-value]


def _refuse_others(sentence: str, *settings: tuple[str, Any, Any]) -> None:
    """Each of (name, value, wanted) must be what is wanted, which ``sentence`` has a place for."""
    for name, value, wanted in settings:
        if value != wanted:
            raise UserError(f"{name} is {value}, but {sentence.format(wanted)}.")
