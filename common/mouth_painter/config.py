"""The painter: which mouths are labelled, how it is trained, and the roots of both commands."""

from __future__ import annotations

from dataclasses import dataclass, field

from common.checks import at_least, multiple_of
from common.data.config import DataConfig
from common.geometry import GeometryConfig
from common.training.config import OptimisationConfig


@dataclass
class MouthLabelsConfig:
    """Which mouths are labelled."""

    least_gap: float = 0.02
    """Between the inner lips, in eye-corner distances: narrower mouths show nothing."""
    least_unit: float = 0.0
    """Of the film, in pixels per eye-corner distance: coarser film shows no teeth."""
    every: int = 2
    """Of the frames with an open mouth one of so many: neighbours show nearly the same."""

    def __post_init__(self) -> None:
        at_least("labels.least_gap", self.least_gap, 0.0)
        at_least("labels.least_unit", self.least_unit, 0.0)
        at_least("labels.every", self.every, 1)


@dataclass
class PainterConfig:
    """A painter, and what it is trained with."""

    init_from: str = ""
    """Folder of a painter to start from, of these widths; empty: from nothing."""
    told_fine: bool = False
    """Whether the painter is told of all film that it is fine, as dubs tell it: for film of one person. Of
    film of many it is told how fine it is: coarse film shows no teeth."""
    widths: list[int] = field(default_factory=lambda: [48, 96, 128])
    """Channels at a half, a quarter and an eighth of the patch."""
    pixel_weight: float = 10.0
    """Of the mean absolute error of what is painted, 0 to 1, and of half of that of its differences."""
    critic_weight: float = 1.0
    """Of what the critic says of the painted; 0: there is none, and what is painted is soft."""
    feature_weight: float = 2.0
    """Of the distance between the critic's features of the painted and the filmed."""
    critic_widths: list[int] = field(default_factory=lambda: [32, 64, 96])
    steadiness: float = 1.0
    """Of the squared change of the critic's logits when a little noise is added to filmed patches."""
    alone: int = 200
    """Steps of the painter before the critic begins."""

    def __post_init__(self) -> None:
        for name in ("widths", "critic_widths"):
            for width in getattr(self, name):
                multiple_of(f"painter.{name}", width, "channels per group", 8)
        for name in ("pixel_weight", "critic_weight", "feature_weight", "steadiness", "alone"):
            at_least(f"painter.{name}", getattr(self, name), 0)


@dataclass
class MouthLabelingConfig:
    """Root of ``python -m common.mouth_painter.label``."""

    work: str = "outputs/painter"
    """Work folder of stage 1: the prepared clips are read from it, the shards written to it."""
    folder: str = "open_mouths"
    """Where the shards go, in the work folder."""
    samples_per_shard: int = 128
    geometry: GeometryConfig = field(default_factory=GeometryConfig)
    labels: MouthLabelsConfig = field(default_factory=MouthLabelsConfig)


@dataclass
class PainterTrainingConfig:
    """Root of ``python -m common.mouth_painter.train``."""

    work: str = "outputs/painter"
    """Work folder, below which files name the data and the output: ``${work}/open_mouths``."""
    painter: PainterConfig = field(default_factory=PainterConfig)
    train: OptimisationConfig = field(default_factory=OptimisationConfig)
    data: DataConfig = field(default_factory=DataConfig)
