"""The configuration of stage 2: the shared sections plus the training phase; and that of a dub."""

from __future__ import annotations

from dataclasses import dataclass, field

from common.config import (
    AugmentConfig,
    ModelSections,
    PhaseConfig,
    SpeechAugmentConfig,
    SpeedConfig,
    TrainingSections,
)
from common.errors import UserError


@dataclass
class Stage2Config(TrainingSections, ModelSections):
    """Root of stage 2."""

    phase: PhaseConfig = field(default_factory=PhaseConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    speech_augment: SpeechAugmentConfig = field(default_factory=SpeechAugmentConfig)


@dataclass
class DubConfig:
    """Root of what ``bootdub dub --speed FILE`` reads."""

    speed: SpeedConfig = field(default_factory=SpeedConfig)


def check(config: Stage2Config) -> Stage2Config:
    """Refuse combinations that would fail, or quietly mean something else, long after the start.

    Raises:
        UserError: naming the key and what it must be.
    """
    if config.model.reference_layout != "spatial":
        raise UserError(
            'model.reference_layout must be "spatial" in stage 2: the source video stands beside the target.'
        )
    if config.model.condition_channels:
        raise UserError("model.condition_channels must be 0 in stage 2: the editor sees no masked video.")
    if config.phase.lora_rank and not config.train.init_from:
        raise UserError(
            f"The {config.phase.name} phase trains an adapter: set train.init_from to the model package of "
            "the phase before."
        )
    return config
