"""Small videos with face tracks, stage 1's commands, and a configuration on which they run in seconds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

from common.autoencoder.codec import build_vae
from common.config import load_config
from common.media import save_wav, write_video
from stage1_generator import (
    blend,
    encode,
    filters,
    own_mouths,
    pack,
    prepare,
    report,
    retime,
    synthesize,
    train,
)
from stage1_generator.config import Stage1Config

STEPS: dict[str, Callable[[list[str]], int]] = {
    "prepare": prepare.main,
    "encode": encode.main,
    "train": train.main,
    "synthesize": synthesize.main,
    "blend": blend.main,
    "filters": filters.main,
    "retime": retime.main,
    "own_mouths": own_mouths.main,
    "pack": pack.main,
    "report": report.main,
}
"""The commands of stage 1, in the order of use."""

SIZE = (64, 96)

CONFIG = """
model: {dim: 32, num_heads: 2, num_layers: 1, ffn_dim: 64, text_dim: 8, text_tokens: 0, freq_dim: 16,
  latent_channels: 4, audio_channels: 80, audio_dim: 16, audio_heads: 2, audio_layers: 1}
vae: {base_dim: 4, decoder_base_dim: 4, z_dim: 4, dim_mult: [1, 2, 2], num_res_blocks: 1,
  temperal_downsample: [true, true], patch_size: 2, scale_factor_spatial: 8}
speech: {encoder: mel, channels: 80, extra_window: 4}
geometry: {crop_size: 32, clip_frames: 9, motion_latents: 1}
"""

OVERLAY = """
references: {count: 2}
diffusion: {num_steps: 2}
pairs: {clip_frames: 13, silence_fraction: 0.25}
encode: {samples_per_shard: 4}
pack: {samples_per_shard: 3}
filters: {sharpness_min: 0, sharpness_max: 1.0e+9, lip_change_min: 0.0}
synthesis: {batch_clips: 2}
train: {max_steps: 2, global_batch_size: 2, micro_batch_size: 2, warmup_steps: 1, mixed_precision: float32,
  save_every: 100, log_every: 1, num_workers: 0}
"""


def write_clip(
    folder: Path, name: str, frames: int, seed: int, *, speaker: str = "", occluded: bool = False
) -> Path:
    """`name`.mp4 with sound, a track beside it, and a sidecar where there is a speaker."""
    random = np.random.default_rng(seed)
    height, width = SIZE
    noise = random.integers(60, 200, (height // 8, width // 8, 3)).astype(np.uint8)
    picture = noise.repeat(8, axis=0).repeat(8, axis=1)
    video = np.stack([np.roll(picture, i // 3, axis=1) for i in range(frames)])
    sound = 0.3 * np.sin(np.cumsum(0.05 + 0.2 * random.random(frames * 640))).astype(np.float32)
    wav = folder / f"{name}.wav"
    save_wav(wav, sound, 16000)
    path = folder / f"{name}.mp4"
    write_video(path, video, rate=25, audio_from=wav)
    wav.unlink()
    left = 30 + np.arange(frames) * 0.1
    track = {"boxes": np.stack([left, left * 0 + 16, left + 34, left * 0 + 50], axis=1).astype(np.float32)}
    if occluded:
        track["occluder"] = np.zeros((frames, height, width), np.uint8)
        track["occluder"][:, 36:46, 40:50] = 1
    save_file(track, path.with_name(f"{name}.track.safetensors"))
    if speaker:
        path.with_suffix(".json").write_text(json.dumps({"speaker": speaker}))
    return path


def write_config(folder: Path, videos: Path, work: Path, *overrides: str) -> list[str]:
    """Command-line words for every command of stage 1; makes an untrained autoencoder beside them."""
    base, overlay = folder / "base.yaml", folder / "overlay.yaml"
    base.write_text(CONFIG)
    overlay.write_text(OVERLAY)
    stage1 = Path(__file__).resolve().parent.parent / "configs" / "stage1.yaml"
    vae = folder / "vae"
    if not vae.is_dir():
        torch.manual_seed(0)
        build_vae(load_config(Stage1Config, [base]).vae).save_pretrained(vae)
    words = [f"work={work}", f"prepare.videos={videos}", f"vae.path={vae}", "geometry.clip_frames=9"]
    return ["--config", str(base), str(stage1), str(overlay), *words, *overrides]
