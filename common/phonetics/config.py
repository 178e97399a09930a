"""The phonetic encoder: its teacher, the speech that it learns from, its shape, the roots of its commands."""

from __future__ import annotations

from dataclasses import dataclass, field

from common.checks import at_least, one_of
from common.data.config import DataConfig
from common.errors import UserError
from common.geometry import GeometryConfig
from common.phonetics.kinds import CONVOLUTIONS, KINDS, TRANSFORMER
from common.speech.config import SpeechAugmentConfig
from common.training.config import OptimisationConfig


@dataclass
class TeacherConfig:
    """The large speech encoder whose features are learnt."""

    teacher: str = ""
    """ONNX file of a Whisper encoder."""
    output: str = "last_hidden_state"
    """The tensor inside it whose features are learnt."""
    unit_variance: bool = True
    """The teacher is given sound of mean 0 and variance 1."""


@dataclass
class PhoneticLabelsConfig(TeacherConfig):
    """The speech that gets the teacher's features as labels."""

    speeds: list[float] = field(default_factory=lambda: [1.0, 0.85, 1.2])
    """At which the speech of every face is played, pitch and all; none: it is left out."""
    synthesised_minutes: float = 45.0
    synthesised_seconds: float = 6.0
    """Of one synthesised voice."""
    lip_predictors: list[str] = field(default_factory=list)
    """Folders of lip-shape predictors that take the teacher's features (lip_shapes.teacher_features). The
    mean of the lip shapes that they predict is written beside those features: predictors can then also learn
    from speech without faces."""
    frames: int = 29
    """Of a sample, at geometry.fps."""
    folders: list[str] = field(default_factory=list)
    """Of further speech, without faces: audio files, one directory per speaker or language."""

    def __post_init__(self) -> None:
        for speed in self.speeds:
            if not 0.5 <= speed <= 2:
                raise UserError(f"phonetics.speeds has {speed}; give numbers from 0.5 to 2.")
        at_least("phonetics.synthesised_seconds", self.synthesised_seconds, 2)
        at_least("phonetics.frames", self.frames, 1)


@dataclass
class PhoneticEncoderConfig:
    """The shape of the phonetic encoder."""

    kind: str = CONVOLUTIONS
    """| transformer: common/lip_shapes/phonetics.py."""
    width: int = 256
    """Hidden channels."""
    channels: int = 96
    """That it puts out."""
    depth: int = 2
    """Blocks of a transformer."""
    heads: int = 6
    """Of a transformer's attention."""

    def __post_init__(self) -> None:
        one_of("phonetics.kind", self.kind, KINDS)
        at_least("phonetics.depth", self.depth, 1)
        at_least("phonetics.heads", self.heads, 1)
        if self.kind == TRANSFORMER and self.width % (2 * self.heads):
            raise UserError(
                f"phonetics.width is {self.width}; give a multiple of twice phonetics.heads, "
                f"{2 * self.heads}: each head turns pairs of channels."
            )


@dataclass
class PhoneticLabelingConfig:
    """Root of ``python -m common.phonetics.label``."""

    work: str = "outputs/stage1"
    """Work folder of stage 1: the prepared clips are read from it, the shards written to it."""
    samples_per_shard: int = 256
    geometry: GeometryConfig = field(default_factory=GeometryConfig)
    phonetics: PhoneticLabelsConfig = field(default_factory=PhoneticLabelsConfig)


@dataclass
class PhoneticTrainingConfig:
    """Root of ``python -m common.phonetics.train``."""

    work: str = "outputs/stage1"
    """Work folder of stage 1, below which files name the data and the output: ``${work}/phonetics``."""
    phonetics: PhoneticEncoderConfig = field(default_factory=PhoneticEncoderConfig)
    train: OptimisationConfig = field(default_factory=OptimisationConfig)
    data: DataConfig = field(default_factory=DataConfig)
    speech_augment: SpeechAugmentConfig = field(default_factory=SpeechAugmentConfig)
