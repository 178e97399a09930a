"""The sections of a configuration that both stages share.

All defaults are the geometry of the public 5B release (R) and the training values of the paper (P). Import
these names from ``common.config``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from common.errors import UserError


@dataclass
class ModelConfig:
    """Constructor arguments of the dubbing transformer (R: Wan2.2-TI2V-5B with an audio branch)."""

    dim: int = 3072
    num_heads: int = 24
    num_layers: int = 30
    ffn_dim: int = 14336
    text_dim: int = 4096
    freq_dim: int = 256
    latent_channels: int = 48
    condition_channels: int = 0  # extra input channels of the target; stage 1 puts the masked video here
    patch_size: list[int] = field(default_factory=lambda: [1, 2, 2])
    reference_layout: str = "spatial"  # "spatial" (stage 2) | "temporal" (stage 1)
    prediction: str = "velocity"  # | "sample" | "edit": common/models/prediction.py
    audio_channels: int = 2048
    audio_dim: int = 1536
    audio_heads: int = 24
    audio_layers: int = 4
    eps: float = 1e-6
    text_tokens: int = 512  # 0: no text cross-attention at all
    gradient_checkpointing: bool = False
    attention_backend: str = "native"

    def __post_init__(self) -> None:
        _one_of("model.reference_layout", self.reference_layout, ("spatial", "temporal"))
        _one_of("model.prediction", self.prediction, ("velocity", "sample", "edit"))
        _divides("model.dim", self.dim, "model.num_heads", self.num_heads)
        _divides("model.audio_dim", self.audio_dim, "model.audio_heads", self.audio_heads)
        if len(self.patch_size) != 3:
            raise UserError(
                f"model.patch_size is {self.patch_size}; give three numbers: frames, height, width."
            )


@dataclass
class VaeConfig:
    """The shape of the autoencoder, and where its weights are.

    Kind "wan": arguments of diffusers' ``AutoencoderKLWan`` (R: the Wan2.2 autoencoder). Kind "patch":
    those of ``common.autoencoder.patch``: ``z_dim``, the scale factors and the last four here.
    """

    path: str = ""
    kind: str = "wan"  # | "patch"
    base_dim: int = 160
    decoder_base_dim: int = 256
    z_dim: int = 48
    dim_mult: list[int] = field(default_factory=lambda: [1, 2, 4, 4])
    num_res_blocks: int = 2
    temperal_downsample: list[bool] = field(default_factory=lambda: [False, True, True])
    patch_size: int = 2
    is_residual: bool = True
    in_channels: int = 12
    out_channels: int = 12
    scale_factor_spatial: int = 16
    scale_factor_temporal: int = 4
    width: int = 192
    encoder_layers: int = 3
    decoder_layers: int = 4
    refine_width: int = 32

    def __post_init__(self) -> None:
        _one_of("vae.kind", self.kind, ("wan", "patch"))


@dataclass
class SpeechConfig:
    """Which speech features drive the lips."""

    encoder: str = "whisper+wav2vec2"  # | "mel" (no weights needed) | "lips" (shapes read from mel)
    path: str = ""  # folder with whisper/ and wav2vec2/, or of the lip reader; unused by mel
    extra_window: int = 0  # feature frames (50 Hz) added on each side of the eight (P: 4 in stage 1; R: 0)
    channels: int = 2048
    chunking: str = "overlap"  # of whisper+wav2vec2 beyond 30 s; "release": hard windows (R)

    def __post_init__(self) -> None:
        _one_of("speech.chunking", self.chunking, ("overlap", "release"))
        _one_of("speech.encoder", self.encoder, ("mel", "lips", "whisper+wav2vec2"))
        _at_least("speech.extra_window", self.extra_window, 0)


@dataclass
class GeometryConfig:
    """What one clip is: rate in frames per second, square crops in pixels, lengths in frames."""

    fps: float = 25.0
    crop_size: int = 512
    crop_scale: float = 1.45  # side of the crop over the size of the face
    clip_frames: int = 77  # always 4k+1: the first latent frame is one pixel frame, each later one four
    motion_latents: int = 2  # clean leading latents: 4 * (n - 1) + 1 pixel frames

    def __post_init__(self) -> None:
        if self.clip_frames < 1 or self.clip_frames % 4 != 1:
            raise UserError(
                f"geometry.clip_frames is {self.clip_frames}; it must be one more than a multiple of 4."
            )
        _at_least("geometry.crop_size", self.crop_size, 1)
        if not 0 <= self.motion_latents < self.latent_frames:
            raise UserError(
                f"geometry.motion_latents is {self.motion_latents}; it must be below the "
                f"{self.latent_frames} latent frames of a clip."
            )

    @property
    def latent_frames(self) -> int:
        return (self.clip_frames - 1) // 4 + 1


@dataclass
class DiffusionConfig:
    """Sampler defaults (R) and the timestep density of training (P §5)."""

    shift: float = 5.0
    num_steps: int = 30
    passes: int = 1  # stage 2: so often is a clip dubbed, from what the pass before made of it
    reference_scale: float = 2.0
    audio_scale: float = 7.0
    dynamic_schedule: bool = True
    border: int = 1  # outer latent ring copied from the source at every step
    timestep_a: float = 5.0  # t = a u / (1 + (a - 1) u); 0 means uniform t

    def __post_init__(self) -> None:
        _at_least("diffusion.num_steps", self.num_steps, 1)
        _at_least("diffusion.passes", self.passes, 1)
        _at_least("diffusion.timestep_a", self.timestep_a, 0)


@dataclass
class TrainConfig:
    """Everything about one training run that is not the model or the data."""

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
    warmup_steps: int = 100
    lr_schedule: str = "constant"  # | "cosine"
    grad_clip: float = 1.0
    ema_decay: float = 0.0  # 0: no moving average
    mixed_precision: str = "auto"  # | "bf16" | "no"; auto: bf16 where the device has it natively
    save_every: int = 500
    log_every: int = 10
    keep_checkpoints: int = 3
    num_workers: int = 2
    init_from: str = ""  # a model package to start from
    keep_adapters: bool = True  # carry on the adapters of init_from; false starts from its bare transformer
    face_weight: float = 0.3
    lip_weight: float = 0.3
    lip_window: list[int] = field(default_factory=list)
    """Rows and columns of tokens around the lips that most steps see alone; []: all see the whole picture."""
    lip_window_share: float = 0.75  # of the steps
    true_lips: float = 0.0
    """Share of the samples that hear their own measured lips; only with speech.encoder=lips."""
    loss_of: str = "velocity"  # | "sample": errors of z_0 count alike at every t
    drop_both: float = 0.05
    drop_audio: float = 0.10
    motion_probability: float = 0.5
    time_limit_minutes: float = 0.0  # 0: none
    evaluate_every: int = 0  # steps between held-out losses (data.held_out); 0: at every save
    evaluate_samples: int = 32  # held-out clips that are measured, each at nine noise levels
    sample_clips: int = 2  # held-out clips that are dubbed at every save; 0: none
    sample_steps: int = 0  # of the sampler there; 0: diffusion.num_steps
    sample_expert: str = ""  # a sync expert that scores them; never the one of phase.sync

    def __post_init__(self) -> None:
        _one_of("train.optimizer", self.optimizer, ("adamw", "muon"))
        _one_of("train.sharding", self.sharding, ("ddp", "fsdp2"))
        if self.optimizer == "muon" and self.sharding == "fsdp2":
            raise UserError(
                "train.optimizer=muon needs whole matrices, which train.sharding=fsdp2 splits: use adamw, "
                "or train.sharding=ddp."
            )
        if self.lip_window and (len(self.lip_window) != 2 or min(self.lip_window) < 1):
            raise UserError(
                f"train.lip_window is {self.lip_window}; give rows and columns such as [5, 6], or []."
            )
        if not 0 <= self.lip_window_share <= 1:
            raise UserError(f"train.lip_window_share is {self.lip_window_share}; give a share from 0 to 1.")
        if not 0 <= self.true_lips <= 1:
            raise UserError(f"train.true_lips is {self.true_lips}; give a share from 0 to 1.")
        _one_of("train.loss_of", self.loss_of, ("velocity", "sample"))
        _one_of("train.lr_schedule", self.lr_schedule, ("constant", "cosine"))
        _one_of("train.mixed_precision", self.mixed_precision, ("no", "bf16", "auto"))
        for name in ("max_steps", "global_batch_size", "micro_batch_size", "save_every", "log_every"):
            _at_least(f"train.{name}", getattr(self, name), 1)
        _at_least("train.context_parallel", self.context_parallel, 1)
        for name in ("evaluate_every", "sample_clips", "sample_steps"):
            _at_least(f"train.{name}", getattr(self, name), 0)
        _at_least("train.evaluate_samples", self.evaluate_samples, 1)
        _divides(
            "train.global_batch_size", self.global_batch_size, "train.micro_batch_size", self.micro_batch_size
        )


@dataclass
class PixelLossConfig:
    """A loss on decoded frames: its weight (0: off) and the folder of the frozen model that judges."""

    weight: float = 0.0
    model: str = ""


@dataclass
class IdentityLossConfig:
    """ArcFace of an insightface pack on decoded frames (P): weight (0: off), and where the pack is."""

    weight: float = 0.0
    pack: str = "buffalo_l"
    root: str = ""  # folder that holds models/<pack>; empty: ~/.insightface
    frame_stride: int = 4  # one of so many decoded frames is judged

    def __post_init__(self) -> None:
        _at_least("phase.identity.weight", self.weight, 0.0)
        _at_least("phase.identity.frame_stride", self.frame_stride, 1)


@dataclass
class PerceptualLossConfig:
    """A vision encoder (P: CLIP) on decoded frames: weight (0: off), and its save_pretrained folder."""

    weight: float = 0.0
    model: str = ""
    frame_stride: int = 4  # one of so many decoded frames is judged

    def __post_init__(self) -> None:
        _at_least("phase.perceptual.weight", self.weight, 0.0)
        _at_least("phase.perceptual.frame_stride", self.frame_stride, 1)
        if self.weight and not self.model:
            raise UserError(
                "phase.perceptual.weight is set but phase.perceptual.model is empty: name the folder of a "
                "CLIP, SigLIP or DINOv2 vision encoder, or set the weight to 0."
            )


@dataclass
class PhaseConfig:
    """One phase of timestep-adaptive learning (P §5)."""

    name: str = "structure"  # | "lip" | "texture" | "student" (distill.py)
    lora_rank: int = 0  # 0: all parameters are trained
    lora_alpha: float = 128.0
    lora_targets: list[str] = field(default_factory=list)
    active_range: list[float] = field(
        default_factory=lambda: [0.0, 1.0]
    )  # t where the adapter acts at inference
    sync: PixelLossConfig = field(default_factory=PixelLossConfig)  # P: .05 in the lip phase
    identity: IdentityLossConfig = field(default_factory=IdentityLossConfig)  # P: .05 in the texture phase
    perceptual: PerceptualLossConfig = field(default_factory=PerceptualLossConfig)  # P: as identity
    judged_latents: int = 4  # latent frames that losses on decoded frames look at: 4 frames of video each
    own_references: float = 0.0  # share of the steps whose references the editor makes itself, in one step

    def __post_init__(self) -> None:
        if not 0 <= self.own_references <= 1:
            raise UserError(f"phase.own_references is {self.own_references}; give a share from 0 to 1.")
        _at_least("phase.sync.weight", self.sync.weight, 0.0)
        if self.sync.weight and not self.sync.model:
            raise UserError(
                "phase.sync.weight is set but phase.sync.model is empty: name the folder of a sync expert "
                "(common/sync_expert/train.py), or set the weight to 0."
            )
        _one_of("phase.name", self.name, ("structure", "lip", "texture", "student"))
        _at_least("phase.judged_latents", self.judged_latents, 1)
        if self.judged_latents * 4 < max(self.identity.frame_stride, self.perceptual.frame_stride):
            raise UserError(
                f"phase.judged_latents is {self.judged_latents}, less than one frame_stride: raise it or "
                "lower phase.identity.frame_stride and phase.perceptual.frame_stride."
            )
        _at_least("phase.lora_rank", self.lora_rank, 0)
        span = self.active_range
        if len(span) != 2 or not 0 <= span[0] < span[1] <= 1:
            raise UserError(f"phase.active_range is {span}; give two rising numbers within [0, 1].")


@dataclass
class DataConfig:
    """Shard folders (or their index.json) and, when given, how often each is drawn relative to the others."""

    shards: list[str] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    order: str = "shuffle"  # | "stream": every row of the batch reads whole shards one after another
    speaker_exponent: float = 1.0  # a speaker's share goes with this power of his clips; 0: all alike
    buckets: list[int] = field(
        default_factory=list
    )  # lengths of clips in frames, 4k+1; empty: all are cut to geometry.clip_frames
    held_out: list[str] = field(
        default_factory=list
    )  # shards of other speakers, measured and never trained on

    def __post_init__(self) -> None:
        _one_of("data.order", self.order, ("shuffle", "stream"))
        _at_least("data.speaker_exponent", self.speaker_exponent, 0.0)
        if self.speaker_exponent != 1.0 and (self.order == "stream" or self.buckets):
            raise UserError(
                "data.speaker_exponent draws every clip by itself: it goes with data.order=shuffle and "
                "without data.buckets."
            )
        if any(length < 1 or length % 4 != 1 for length in self.buckets):
            raise UserError(f"data.buckets is {self.buckets}; each must be one more than a multiple of 4.")
        if both := set(self.shards) & set(self.held_out):
            raise UserError(
                f"data.held_out names {sorted(both)[0]}, which is also in data.shards: name others."
            )
        if self.weights and len(self.weights) != len(self.shards):
            raise UserError(
                f"data.weights has {len(self.weights)} numbers but data.shards {len(self.shards)} folders: "
                "give one each, or none."
            )


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
        _at_least("sync.jitter", self.jitter, 0.0)
        _at_least("sync.frames", self.frames, 2)
        _at_least("sync.min_shift", self.min_shift, 1)
        for width in self.widths:
            _divides("sync.widths", width, "8 channels per group", 8)


@dataclass
class FaceConfig:
    """Face backend: "mediapipe", "insightface" or "box", and that backend's own options."""

    detector: str = "mediapipe"
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class ModelSections:
    """What a model is, and the clips that it sees: the base of every root that builds one."""

    model: ModelConfig = field(default_factory=ModelConfig)
    vae: VaeConfig = field(default_factory=VaeConfig)
    speech: SpeechConfig = field(default_factory=SpeechConfig)
    geometry: GeometryConfig = field(default_factory=GeometryConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    face: FaceConfig = field(default_factory=FaceConfig)


@dataclass
class TrainingSections:
    """A training run on shards: the base of every root that trains with common/training/trainer.py."""

    train: TrainConfig = field(default_factory=TrainConfig)
    data: DataConfig = field(default_factory=DataConfig)


def check_config(config: Any) -> None:
    """Refuse sections that contradict each other. Looks only at the sections that ``config`` has."""
    model, vae, speech, geometry, train = (
        getattr(config, name, None) for name in ("model", "vae", "speech", "geometry", "train")
    )
    if model and speech:
        _equal("model.audio_channels", model.audio_channels, "speech.channels", speech.channels)
    if model and vae:
        _equal("model.latent_channels", model.latent_channels, "vae.z_dim", vae.z_dim)
    data = getattr(config, "data", None)
    if data and data.buckets and geometry:
        _check_buckets(data.buckets, geometry)
    if vae and geometry:
        step = vae.scale_factor_spatial * (model.patch_size[1] if model else 1)
        _divides("geometry.crop_size", geometry.crop_size, "pixels per token", step)
    if model and geometry and train:
        sharing = train.context_parallel
        _divides("model.num_heads", model.num_heads, "train.context_parallel", sharing)
        shortest = min(data.buckets) if data and data.buckets else geometry.clip_frames
        if (shortest - 1) // 4 + 1 < sharing:
            raise UserError(
                f"train.context_parallel is {sharing}, but clips of {shortest} frames have only "
                f"{(shortest - 1) // 4 + 1} latent frames to share."
            )


def _check_buckets(buckets: Sequence[int], geometry: GeometryConfig) -> None:
    if max(buckets) > geometry.clip_frames:
        raise UserError(
            f"data.buckets has {max(buckets)} frames, more than geometry.clip_frames "
            f"({geometry.clip_frames}), which stays the longest clip."
        )
    if (min(buckets) - 1) // 4 + 1 <= geometry.motion_latents:
        raise UserError(
            f"data.buckets has {min(buckets)} frames, which geometry.motion_latents "
            f"({geometry.motion_latents}) cover wholly: set one of them otherwise."
        )


def _one_of(key: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise UserError(f"{key} is {value!r}; it must be one of {', '.join(allowed)}.")


def _at_least(key: str, value: float, least: float) -> None:
    if value < least:
        raise UserError(f"{key} is {value}; it must be at least {least}.")


def _divides(key: str, value: int, by_name: str, by: int) -> None:
    if by < 1 or value % by:
        raise UserError(f"{key} is {value}, which is no multiple of {by_name} ({by}).")


def _equal(key: str, value: int, other_key: str, other: int) -> None:
    if value != other:
        raise UserError(f"{key} is {value} but {other_key} is {other}; they must agree.")
