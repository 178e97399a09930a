"""The configuration of a training of LTX-2; light to import."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from common.checks import above, at_least, share
from common.data.config import DataConfig
from common.errors import UserError
from common.geometry import GeometryConfig
from common.models.ltx2.config import JointModelConfig
from common.models.ltx2.conventions import CrossMask
from common.training.config import OptimisationConfig

SECTION = "joint"
"""What a configuration of LTX-2 has and none of the dubbing transformer."""


class TargetAudio(str, Enum):
    """What becomes of the target's sound."""

    given = "given"
    """It is given: clean tokens of timestep 0, which are not predicted."""
    generated = "generated"
    """It is denoised together with the pictures."""


class NoiseLevels(str, Enum):
    """Noise levels of pictures and sound in training."""

    together = "together"
    """One for both (LTX-2, JUST-DUB-IT)."""
    apart = "apart"
    """Each has its own: a model learns to make one for the other when that is all but given."""


@dataclass
class JointTrainConfig(OptimisationConfig):
    """The ``train`` section of LTX-2."""

    init_from: str = ""  # a package of LTX-2
    audio_learning_rate: float = 1e-6  # of adapters of the audio branch's own layers
    gradient_checkpointing: bool = False
    lip_window: list[int] = field(default_factory=list)
    """Rows and columns of latents around the lips that most steps see alone; []: all see all of it."""
    lip_window_share: float = 0.75  # of the steps

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("train.audio_learning_rate", self.audio_learning_rate, 0)
        above("train.learning_rate", self.learning_rate, 0)
        share("train.lip_window_share", self.lip_window_share)
        if self.lip_window and (len(self.lip_window) != 2 or min(self.lip_window) < 1):
            raise UserError(
                f"train.lip_window is {self.lip_window}; give rows and columns such as [2, 2], or []."
            )
        if self.context_parallel != 1:
            raise UserError("train.context_parallel must be 1: processes cannot share a clip of LTX-2.")


@dataclass
class JointTaskConfig:
    """The ``joint`` section: what is learnt. The defaults are JUST-DUB-IT's, but for the sound."""

    audio: TargetAudio = TargetAudio.given
    reference: bool = True  # the source's pictures are seen
    reference_audio: bool = False  # the source's sound is heard
    captions: bool = False  # each pair has the prompt that `encode` stored for it, not the package's
    noise: NoiseLevels = NoiseLevels.together
    first_frame: float = 0.1  # share of the steps whose first frame is given
    mask: CrossMask = CrossMask.targets_and_given  # while training; the package's own holds in dubs
    rest_weight: float = 0.1  # in the loss, of latents outside the face
    lip_weight: float = 0.0  # further weight of latents that are all lips
    lora_rank: int = 128  # 0: all parameters are trained
    lora_targets: list[str] = field(
        default_factory=lambda: [
            *("to_q", "to_k", "to_v", "to_out.0"),
            *("ff.net.0.proj", "ff.net.2", "audio_ff.net.0.proj", "audio_ff.net.2"),
        ]
    )

    def __post_init__(self) -> None:
        share("joint.first_frame", self.first_frame)
        for name in ("rest_weight", "lip_weight", "lora_rank"):
            at_least(f"joint.{name}", getattr(self, name), 0)
        if self.lora_rank and not self.lora_targets:
            raise UserError("joint.lora_targets is empty: name the layers that the adapter shall change.")

    @property
    def summary(self) -> str:
        """In words."""
        what = f"LoRA of rank {self.lora_rank}" if self.lora_rank else "all parameters"
        seen = [name for name in ("reference", "reference_audio") if getattr(self, name)]
        return f"{what}, {self.audio.value} audio, {' and '.join(seen) or 'no reference'}"


@dataclass
class JointTrainingConfig:
    """Root of trainings of LTX-2, which ``stage2_dubber/train.py`` reads."""

    model: JointModelConfig = field(default_factory=JointModelConfig)
    geometry: GeometryConfig = field(
        default_factory=lambda: GeometryConfig(clip_frames=121, motion_latents=2)
    )
    joint: JointTaskConfig = field(default_factory=JointTaskConfig)
    train: JointTrainConfig = field(default_factory=JointTrainConfig)
    data: DataConfig = field(default_factory=DataConfig)
