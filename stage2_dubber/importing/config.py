"""Settings of an import that cannot be read from its files."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from common.diffusion.config import DiffusionConfig
from common.errors import UserError
from common.geometry import GeometryConfig
from common.speech.config import SpeechConfig


@dataclass
class HeadsConfig:
    """Head counts, which leave no trace in weights; 0: as in the public models."""

    transformer: int = 0  # 128 channels each
    audio: int = 0  # of the audio projector: 64 channels each


@dataclass
class FreshConfig:
    """Audio layers that a base model does not have (R: those of the release)."""

    audio_dim: int = 1536
    audio_layers: int = 4
    seed: int = 0


@dataclass
class PackageConfig:
    """What is the same for all published models."""

    heads: HeadsConfig = field(default_factory=HeadsConfig)
    geometry: GeometryConfig = field(default_factory=GeometryConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    speech: SpeechConfig = field(default_factory=SpeechConfig)


@dataclass
class ImportConfig(PackageConfig):
    """Root of ``bootdub import-xdub``; the defaults are the release's own values."""

    fresh: FreshConfig = field(default_factory=FreshConfig)
    diffusion: DiffusionConfig = field(
        default_factory=lambda: DiffusionConfig(num_steps=30, reference_scale=2.5, audio_scale=10.0)
    )


class Variant(str, Enum):
    """The two models of the TBDub release."""

    student = "student"
    teacher = "teacher"


@dataclass
class StudentImportConfig(PackageConfig):
    """Root of ``bootdub import-tbdub`` for the two-step student, which runs without guidance."""

    diffusion: DiffusionConfig = field(
        default_factory=lambda: DiffusionConfig(
            num_steps=2, shift=1.0, reference_scale=1.0, audio_scale=1.0, border_at_end=True
        )
    )
    speech: SpeechConfig = field(default_factory=lambda: SpeechConfig(encoder="hubert", channels=4096))


@dataclass
class TeacherImportConfig(PackageConfig):
    """Root of ``bootdub import-tbdub`` for the teacher."""

    diffusion: DiffusionConfig = field(
        default_factory=lambda: DiffusionConfig(
            num_steps=30, reference_scale=2.0, audio_scale=6.0, audio_floor=0.5
        )
    )
    speech: SpeechConfig = field(default_factory=lambda: SpeechConfig(encoder="hubert", channels=4096))


def head_count(key: str, given: int, width: int, usual: int) -> int:
    """``given``, or ``width`` / ``usual``. Raises UserError where ``width`` does not divide."""
    if given and width % given == 0:
        return given
    if not given and width % usual == 0:
        return width // usual
    raise UserError(
        f"{key} is {given}, but the weights are {width} wide, which is no multiple of "
        f"{given or f'the public {usual} channels per head'}: set it to the model's own number of heads."
    )
