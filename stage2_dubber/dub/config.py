"""What ``bootdub dub --speed FILE`` reads."""

from __future__ import annotations

from dataclasses import dataclass, field

from common.models.speed import SpeedConfig


@dataclass
class DubConfig:
    """Root of that file."""

    speed: SpeedConfig = field(default_factory=SpeedConfig)
