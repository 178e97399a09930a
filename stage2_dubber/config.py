"""The configuration of stage 2: a training of the dubbing model, and which phase of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from common.checks import at_least, one_of, rising, share
from common.data.config import AugmentConfig, DegradedLipsConfig, FlowDataConfig
from common.errors import UserError
from common.own_mouths.planes import CONDITION_CHANNELS
from common.speech.config import SpeechAugmentConfig
from common.training.config import FlowTrainConfig, FlowTrainingConfig
from common.training.pixel.config import DecodedFrameLossesConfig


@dataclass
class EditorTrainConfig(FlowTrainConfig):
    """The ``train`` section of stage 2."""

    keep_adapters: bool = True  # carry on the adapters of init_from; false starts from its bare transformer


@dataclass
class EditorDataConfig(FlowDataConfig):
    """The ``data`` section of stage 2."""

    degraded_lips: DegradedLipsConfig = field(default_factory=DegradedLipsConfig)
    own_mouths: bool = False
    """Whether the pairs are rebuilt clips (pairs.own_mouths of stage 1), for a model that refines frames that
    own mouths draw: it is told their reliability and their lip shapes."""


@dataclass
class PhaseConfig(DecodedFrameLossesConfig):
    """One phase of timestep-adaptive learning (P §5), with its losses on decoded frames."""

    name: str = "structure"  # | "lip" | "texture" | "student" (distill.py) | "adapt" (adaptation/)
    lora_rank: int = 0  # 0: all parameters are trained
    lora_alpha: float = 128.0
    lora_targets: list[str] = field(default_factory=list)
    active_range: list[float] = field(
        default_factory=lambda: [0.0, 1.0]
    )  # t where the adapter acts at inference
    own_references: float = 0.0  # share of the steps whose references the editor makes itself, in one step

    def __post_init__(self) -> None:
        super().__post_init__()
        share("phase.own_references", self.own_references)
        one_of("phase.name", self.name, ("structure", "lip", "texture", "student", "adapt"))
        at_least("phase.lora_rank", self.lora_rank, 0)
        rising("phase.active_range", self.active_range)


@dataclass
class Stage2Config(FlowTrainingConfig):
    """Root of stage 2."""

    train: EditorTrainConfig = field(default_factory=EditorTrainConfig)
    data: EditorDataConfig = field(default_factory=EditorDataConfig)
    phase: PhaseConfig = field(default_factory=PhaseConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    speech_augment: SpeechAugmentConfig = field(default_factory=SpeechAugmentConfig)

    @property
    def adapter(self) -> tuple[int, tuple[str, ...]] | None:
        return (self.phase.lora_rank, tuple(self.phase.lora_targets)) if self.phase.lora_rank else None

    @property
    def decodes_frames(self) -> bool:
        return self.phase.active

    @property
    def loss_expert(self) -> str:
        return self.phase.sync.model if self.phase.sync.weight else ""

    @property
    def phase_summary(self) -> str:
        phase = self.phase
        what = f"LoRA of rank {phase.lora_rank}" if phase.lora_rank else "all parameters"
        low, high = phase.active_range
        return f"{phase.name}: {what}, active for t in [{low:g}, {high:g}]"


def check(config: Stage2Config) -> Stage2Config:
    """Refuse combinations that would fail, or quietly mean something else, long after the start.

    Raises:
        UserError: naming the key and what it must be.
    """
    if config.model.reference_layout != "spatial":
        raise UserError(
            'model.reference_layout must be "spatial" in stage 2: the source video stands beside the target.'
        )
    planes = CONDITION_CHANNELS if config.data.own_mouths else 0
    if config.model.condition_channels != planes:
        raise UserError(
            f"model.condition_channels is {config.model.condition_channels}, but must be {planes} in stage 2 "
            f"with data.own_mouths={str(config.data.own_mouths).lower()}."
        )
    if config.phase.lora_rank and not config.train.init_from:
        raise UserError(
            f"The {config.phase.name} phase trains an adapter: set train.init_from to the model package of "
            "the phase before."
        )
    if config.data.own_mouths:
        _check_own_mouths(config)
    if config.data.degraded_lips.active:
        _check_refiner(config)
    return config


def _check_own_mouths(config: Stage2Config) -> None:
    data, diffusion = config.data, config.diffusion
    rests, shown = "it shall rest at no change", "sources are what own mouths draw"
    for name, value, wanted, why in (
        ("model.prediction", config.model.prediction, "edit", rests),
        ("diffusion.reference_scale", diffusion.reference_scale, 1, rests),
        ("data.degraded_lips.resolution", list(data.degraded_lips.resolution), [], shown),
        ("phase.own_references", config.phase.own_references, 0, shown),
        ("diffusion.start_from", diffusion.start_from, "noise", "what drawn lips say is not heard"),
        ("diffusion.passes", diffusion.passes, 1, "reliability is that of the drawn frames"),
    ):
        if value != wanted:
            raise UserError(f"{name} is {value}, but with data.own_mouths it must be {wanted}: {why}.")


def _check_refiner(config: Stage2Config) -> None:
    most, train, diffusion = config.data.degraded_lips.resolution[1], config.train, config.diffusion
    if most > config.geometry.crop_size:
        raise UserError(
            f"data.degraded_lips.resolution goes up to {most} pixels, but crops have "
            f"{config.geometry.crop_size} (geometry.crop_size), and nothing would be lost: give at most that."
        )
    for name, value, wanted in (
        ("train.true_lips", train.true_lips, 0),
        ("speech_augment", config.speech_augment.active, False),
        ("phase.own_references", config.phase.own_references, 0),
        ("phase.sync.weight", config.phase.sync.weight, 0),
        ("diffusion.audio_scale", diffusion.audio_scale, 1),
        ("diffusion.start_from", diffusion.start_from, "noise"),
    ):
        if value != wanted:
            raise UserError(
                f"{name} is about speech, which a model that refines lips does not hear: with "
                "data.degraded_lips leave it out."
                if wanted is False
                else f"{name} is {value}, but a model that refines lips hears no speech: with "
                f"data.degraded_lips it must be {wanted}."
            )
