"""The autoencoder: its shape, and how one is trained."""

from __future__ import annotations

from dataclasses import dataclass, field

from common.checks import at_least, clip_length, one_of, precision, share
from common.errors import UserError
from common.geometry import GeometryConfig


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
        one_of("vae.kind", self.kind, ("wan", "patch"))


@dataclass
class AutoencoderConfig:
    """One training run. The shape comes from the `vae` section, the crop from `geometry`."""

    folders: list[str] = field(default_factory=list)  # searched with their subfolders
    output: str = ""  # the autoencoder goes to output/vae, the resumable state beside it
    max_frames: int = 40000  # frames held in memory, over all videos
    held_out: float = 0.03  # share of the videos, at least one, that is only measured
    window_frames: list[int] = field(
        default_factory=lambda: [9, 17, 25]
    )  # lengths drawn evenly, each 4k+1; the longest should reach the model's clips
    window_size: int = 0  # side of the trained windows in px, 0: the whole crop; small ones vary more
    frames_per_step: int = 18  # shorter windows come in larger batches
    max_steps: int = 20000
    time_limit_minutes: float = 0.0  # 0: none; the schedule ends with whichever limit comes first
    learning_rate: float = 4e-3
    warmup_steps: int = 100
    grad_clip: float = 1.0
    ema_decay: float = 0.999
    kl_weight: float = 1e-5  # times nats per latent value
    edge_weight: float = 0.5
    mixed_precision: str = "auto"  # | "bfloat16" | "float32": common/arithmetic.py
    device: str = "cpu"
    seed: int = 0
    log_every: int = 20
    save_minutes: float = 10.0
    stats_windows: int = 48  # windows over which latents are measured
    whitening: float = 1.0  # 1: every channel gets the same spread; 0: strong channels stay strong

    def __post_init__(self) -> None:
        for frames in self.window_frames:
            clip_length("autoencoder.window_frames", frames)
        at_least("autoencoder.window_size", self.window_size, 0)
        share("autoencoder.whitening", self.whitening)
        precision("autoencoder.mixed_precision", self.mixed_precision)
        if not self.window_frames:
            raise UserError("autoencoder.window_frames is empty; give lengths such as [9, 17, 25].")


@dataclass
class AutoencoderRunConfig:
    """Root of ``python -m common.autoencoder.train``."""

    vae: VaeConfig = field(default_factory=VaeConfig)
    geometry: GeometryConfig = field(default_factory=GeometryConfig)
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
