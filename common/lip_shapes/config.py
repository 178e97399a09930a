"""The lip-shape predictor: how its clips are labelled, how it is trained, and the roots of both commands."""

from __future__ import annotations

from dataclasses import dataclass, field

from common.checks import above, at_least, share
from common.data.config import DataConfig
from common.errors import UserError
from common.geometry import GeometryConfig
from common.phonetics.config import TeacherConfig
from common.speech.config import SpeechAugmentConfig
from common.training.config import OptimisationConfig


@dataclass
class LipLabelsConfig:
    """What the labelled clips hold."""

    teacher_features: bool = False
    """With the features of phonetics.teacher beside the bands, for a predictor that labels speech."""


@dataclass
class LipShapesConfig:
    """How a lip-shape predictor is trained."""

    silence: float = 0.2
    """Share of the clips that get a stretch of silence, in which the mouth is to be closed."""
    tempo: float = 0.2
    """Half of the clips are played faster or slower by up to this share."""
    phonetics: str = ""
    """Folder of a phonetic encoder (common.phonetics.train), or of a predictor that has one: its features are
    a further input; empty: none."""
    dropout: float = 0.2
    input_dropout: float = 0.0
    """Of the first layer's input."""
    tune_phonetics: bool = False
    """The phonetic encoder goes on learning with the predictor; only with much more speech than has faces."""
    correlation: float = 0.0
    """Weight of 1 - r of the predicted opening and the wanted one, clip by clip, in the loss."""
    spread: float = 1.0
    """Times the calibrated spread of every shape: in unknown speech a predictor moves less than in the speech
    that it is calibrated on, which it learnt from."""

    def __post_init__(self) -> None:
        if not 0 <= self.tempo < 1:
            raise UserError(f"lip_shapes.tempo is {self.tempo}; give a share from 0 to below 1.")
        share("lip_shapes.silence", self.silence)
        at_least("lip_shapes.correlation", self.correlation, 0)
        above("lip_shapes.spread", self.spread, 0)


@dataclass
class LipLabelingConfig:
    """Root of ``python -m common.lip_shapes.label``."""

    work: str = "outputs/stage1"
    """Work folder of stage 1: the prepared clips are read from it, the shards written to it."""
    stride: int = 0
    """Frames from one clip's start to the next (0 = geometry.clip_frames, no overlap)."""
    samples_per_shard: int = 256
    geometry: GeometryConfig = field(default_factory=GeometryConfig)
    lip_shapes: LipLabelsConfig = field(default_factory=LipLabelsConfig)
    phonetics: TeacherConfig = field(default_factory=TeacherConfig)


@dataclass
class LipTrainingConfig:
    """Root of ``python -m common.lip_shapes.train``."""

    work: str = "outputs/stage1"
    """Work folder of stage 1, below which files name the data and the output: ``${work}/lip_clips``."""
    geometry: GeometryConfig = field(default_factory=GeometryConfig)
    lip_shapes: LipShapesConfig = field(default_factory=LipShapesConfig)
    train: OptimisationConfig = field(default_factory=OptimisationConfig)
    data: DataConfig = field(default_factory=DataConfig)
    speech_augment: SpeechAugmentConfig = field(default_factory=SpeechAugmentConfig)


@dataclass
class JoinConfig:
    """Which predictors become one."""

    members: list[str] = field(default_factory=list)
    """Folders of two or more, such as ``train.output`` of common.lip_shapes.train has in ``package``."""
    output: str = ""
    """The folder that is written; one that lies there is replaced."""
    shards: list[str] = field(default_factory=list)
    """Filmed lips to calibrate on."""
    spread: float = 1.0
    """Times the calibrated spread of every shape, as lip_shapes.spread."""

    def __post_init__(self) -> None:
        if len(self.members) == 1:
            raise UserError(f"join.members names {self.members[0]} alone: name two or more predictors.")
        above("join.spread", self.spread, 0)


@dataclass
class LipJoinConfig:
    """Root of ``python -m common.lip_shapes.join``."""

    join: JoinConfig = field(default_factory=JoinConfig)
