"""How a student shall dub: along its teacher's steps and windows, or as the public two-step student does."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from common.diffusion.config import DiffusionConfig
from common.errors import UserError
from common.models.conventions import TBDUB_STUDENT, Conventions
from common.models.package_info import ModelTask, PackageInfo
from stage2_dubber.distillation.config import TBDUB, StudentConfig

if TYPE_CHECKING:
    from common.diffusion.sampler import EulerSampler


def check_target(config: StudentConfig, teacher: PackageInfo) -> None:
    """Refuse a teacher that does not edit, and steps that its path does not have.

    Raises:
        UserError: naming the setting.
    """
    if teacher.task is not ModelTask.edit:
        raise UserError(
            f"{config.teacher}: the model refines what others draw; name one that edits in distill.teacher."
        )
    names = ("border",) if config.distill.target == TBDUB else ("shift", "border", "border_at_end")
    for name in names:
        ours, theirs = getattr(config.diffusion, name), getattr(teacher.diffusion, name)
        if ours != theirs:
            raise UserError(
                f"diffusion.{name} is {ours} but the teacher in {config.teacher} has {theirs}: the student "
                f"takes steps of the teacher's path, set diffusion.{name}={theirs}."
            )
    taken = {adapter.name for adapter in teacher.adapters} & {config.phase.name, "fake"}
    if config.distill.shared_weights and taken:
        raise UserError(
            f"{config.teacher} has an adapter {taken.pop()!r}, as the networks of this training are called: "
            "set distill.shared_weights=false."
        )


def target_conventions(target: str, teacher: Conventions) -> Conventions:
    """Those of the student's package; crops, which its weights know, and pasting are the teacher's."""
    if target != TBDUB:
        return teacher
    return replace(TBDUB_STUDENT, crops=teacher.crops, pasting=teacher.pasting)


def seen_sampler(diffusion: DiffusionConfig) -> EulerSampler:
    """The student's sampler as its network sees it: a border that is put in place at the very end is none."""
    from common.diffusion.sampler import build_sampler

    sampler = build_sampler(diffusion)
    return replace(sampler, border=0) if sampler.border_at_end else sampler
