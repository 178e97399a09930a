"""The sync expert: its shape, how its false pairs are drawn, and the root of its training."""

from __future__ import annotations

from dataclasses import dataclass, field

from common.checks import at_least, multiple_of
from common.data.config import DataConfig
from common.training.config import OptimisationConfig


@dataclass
class SyncConfig:
    """A sync expert (common/sync_expert/model.py) and how its false pairs are drawn."""

    frames: int = 16
    widths: list[int] = field(default_factory=lambda: [32, 64, 128, 128])
    embed_dim: int = 128
    min_shift: int = 3  # video frames by which the sound of a false pair is shifted, at least
    jitter: float = 0.2  # of brightness and contrast; also mirrors every second clip. 0: neither
    held_out: list[str] = field(default_factory=list)  # shards of speakers that are only measured

    def __post_init__(self) -> None:
        at_least("sync.jitter", self.jitter, 0.0)
        at_least("sync.frames", self.frames, 2)
        at_least("sync.min_shift", self.min_shift, 1)
        for width in self.widths:
            multiple_of("sync.widths", width, "8 channels per group", 8)


@dataclass
class SyncTrainingConfig:
    """Root of ``common/sync_expert/train.py``."""

    sync: SyncConfig = field(default_factory=SyncConfig)
    train: OptimisationConfig = field(default_factory=OptimisationConfig)
    data: DataConfig = field(default_factory=DataConfig)
