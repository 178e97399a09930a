"""Trainings: what every one reads, and what one of the dubbing transformer reads besides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from common.autoencoder.config import VaeConfig
from common.checks import at_least, equal, multiple_of, one_of, precision, share
from common.data.config import FlowDataConfig
from common.diffusion.config import DiffusionConfig
from common.errors import UserError
from common.geometry import GeometryConfig, frames_to_latents
from common.models.config import ModelConfig
from common.speech.config import SpeechConfig

CLIP = "clip"
LOSS_REGIONS = (CLIP, "lower_face", "lips")
"""Values of ``train.loss_region``: where the flow loss is taken."""


@dataclass
class OptimisationConfig:
    """The ``train`` section of every training with common/training/trainer.py."""

    output: str = ""
    seed: int = 0
    max_steps: int = 15000
    global_batch_size: int = 256
    micro_batch_size: int = 1
    sharding: str = "ddp"  # every process holds the model | "fsdp2": each a part of it
    context_parallel: int = 1  # processes that share each sample: common/models/context_parallel.py
    optimizer: str = "adamw"  # | "muon": for small models from scratch
    learning_rate: float = 1e-5
    weight_decay: float = 0.01  # adamw only
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])  # adamw only
    warmup_steps: int = 100
    lr_schedule: str = "constant"  # | "cosine" | "linear"
    grad_clip: float = 1.0
    ema_decay: float = 0.0  # 0: no moving average
    mixed_precision: str = "auto"  # | "bfloat16" | "float32": common/arithmetic.py
    save_every: int = 500
    log_every: int = 10
    keep_checkpoints: int = 3
    num_workers: int = 2
    time_limit_minutes: float = 0.0  # 0: none

    def __post_init__(self) -> None:
        one_of("train.optimizer", self.optimizer, ("adamw", "muon"))
        one_of("train.sharding", self.sharding, ("ddp", "fsdp2"))
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise UserError(f"train.betas is {list(self.betas)}: give two numbers from 0 to below 1.")
        if self.optimizer == "muon" and self.sharding == "fsdp2":
            raise UserError(
                "train.optimizer=muon needs whole matrices, which train.sharding=fsdp2 splits: use adamw, "
                "or train.sharding=ddp."
            )
        one_of("train.lr_schedule", self.lr_schedule, ("constant", "cosine", "linear"))
        precision("train.mixed_precision", self.mixed_precision)
        for name in ("max_steps", "global_batch_size", "micro_batch_size", "save_every", "log_every"):
            at_least(f"train.{name}", getattr(self, name), 1)
        at_least("train.context_parallel", self.context_parallel, 1)
        multiple_of(
            "train.global_batch_size", self.global_batch_size, "train.micro_batch_size", self.micro_batch_size
        )


@dataclass
class FlowTrainConfig(OptimisationConfig):
    """The ``train`` section of a training of the dubbing transformer, which both stages do."""

    init_from: str = ""  # a model package to start from
    face_weight: float = 0.3
    lip_weight: float = 0.3
    lip_window: list[int] = field(default_factory=list)
    """Rows and columns of tokens around the lips that most steps see alone; []: all see the whole picture."""
    lip_window_share: float = 0.75  # of the steps
    true_lips: float = 0.0
    """Share of the samples whose speech is their own measured lips; only with speech.encoder=lips."""
    loss_region: str = CLIP
    """ "lower_face" or "lips": errors there alone, over their area (EdiDub), and no weights of regions."""
    loss_of: str = "velocity"  # | "sample": errors of z_0 count alike at every t
    drop_both: float = 0.05
    drop_audio: float = 0.10
    motion_probability: float = 0.5
    evaluate_every: int = 0  # steps between held-out losses (data.held_out); 0: at every save
    evaluate_samples: int = 32  # held-out clips that are measured, each at nine noise levels
    evaluate_hearing: bool = False  # also how much the speech of another clip changes the lips
    sample_clips: int = 2  # held-out clips that are dubbed at every save; 0: none
    sample_steps: int = 0  # of the sampler there; 0: diffusion.num_steps
    sample_expert: str = ""  # a sync expert that scores them; never the one that the model is trained with

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lip_window and (len(self.lip_window) != 2 or min(self.lip_window) < 1):
            raise UserError(
                f"train.lip_window is {self.lip_window}; give rows and columns such as [5, 6], or []."
            )
        share("train.lip_window_share", self.lip_window_share)
        share("train.true_lips", self.true_lips)
        one_of("train.loss_region", self.loss_region, LOSS_REGIONS)
        one_of("train.loss_of", self.loss_of, ("velocity", "sample"))
        for name in ("evaluate_every", "sample_clips", "sample_steps"):
            at_least(f"train.{name}", getattr(self, name), 0)
        at_least("train.evaluate_samples", self.evaluate_samples, 1)


@dataclass(frozen=True)
class Company:
    """What a training of one network holds and computes besides, for its estimates.

    networks: how many of that size are trained, each with an optimiser of its own. copies: float32 copies of
    the weights that these need; adapters of shared weights need one. narrow: further frozen copies in the
    format of arithmetic, whole in every process. forwards: further forward passes without a gradient, per
    sample and optimiser step on average. at_once: samples that such a pass has for each of the batch.
    """

    networks: int = 1
    copies: int = 1
    narrow: int = 0
    forwards: float = 0.0
    at_once: int = 1


@dataclass
class FlowTrainingConfig:
    """What a dubbing model is, the clips that it sees, and its training: roots of both stages have these."""

    train: FlowTrainConfig = field(default_factory=FlowTrainConfig)
    data: FlowDataConfig = field(default_factory=FlowDataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    vae: VaeConfig = field(default_factory=VaeConfig)
    speech: SpeechConfig = field(default_factory=SpeechConfig)
    geometry: GeometryConfig = field(default_factory=GeometryConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)

    def __post_init__(self) -> None:
        """Raises UserError where sections contradict each other."""
        model, geometry, buckets = self.model, self.geometry, self.data.buckets
        equal("model.audio_channels", model.audio_channels, "speech.channels", self.speech.channels)
        equal("model.latent_channels", model.latent_channels, "vae.z_dim", self.vae.z_dim)
        if buckets:
            _check_buckets(buckets, geometry)
        step = self.vae.scale_factor_spatial * model.patch_size[1]
        multiple_of("geometry.crop_size", geometry.crop_size, "pixels per token", step)
        sharing = self.train.context_parallel
        multiple_of("model.num_heads", model.num_heads, "train.context_parallel", sharing)
        shortest = min(buckets) if buckets else geometry.clip_frames
        if frames_to_latents(shortest) < sharing:
            raise UserError(
                f"train.context_parallel is {sharing}, but clips of {shortest} frames have only "
                f"{frames_to_latents(shortest)} latent frames to share."
            )

    @property
    def adapter(self) -> tuple[int, tuple[str, ...]] | None:
        """Rank of the adapter that is trained and the layers that it changes; None: all parameters are."""
        return None

    @property
    def decodes_frames(self) -> bool:
        """Whether there are losses on decoded frames."""
        return False

    @property
    def loss_expert(self) -> str:
        """Folder of the sync expert that the model is trained to please; empty: none."""
        return ""

    @property
    def phase_summary(self) -> str:
        """What is trained, in words, where a stage has several phases; empty: it has one."""
        return ""


def _check_buckets(buckets: Sequence[int], geometry: GeometryConfig) -> None:
    if max(buckets) > geometry.clip_frames:
        raise UserError(
            f"data.buckets has {max(buckets)} frames, more than geometry.clip_frames "
            f"({geometry.clip_frames}), which stays the longest clip."
        )
    if frames_to_latents(min(buckets)) <= geometry.motion_latents:
        raise UserError(
            f"data.buckets has {min(buckets)} frames, which geometry.motion_latents "
            f"({geometry.motion_latents}) cover wholly: set one of them otherwise."
        )
