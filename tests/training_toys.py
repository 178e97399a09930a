"""A training set and models small enough that a training run takes a second."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common.autoencoder.codec import VideoCodec, build_vae
from common.config import load_config
from common.data.dataset import ShardDataset
from common.data.schema import encode_sample
from common.data.writer import ShardWriter
from common.face.canonical import face_in_box
from common.speech.build import build_speech_encoder
from common.training.checkpoint import Checkpoint
from common.training.launch import open_shards, train
from common.training.trainer import TrainResult
from stage1_generator.config import Stage1Config
from stage2_dubber.config import Stage2Config
from stage2_dubber.training.strategy import EditorStrategy

FRAMES, LATENTS, SIDE, CHANNELS = 9, 3, 4, 4

TOY = """
model: {dim: 32, num_heads: 2, num_layers: 2, ffn_dim: 64, text_dim: 8, text_tokens: 0, freq_dim: 16,
  latent_channels: 4, audio_channels: 80, audio_dim: 16, audio_heads: 2, audio_layers: 1}
vae: {base_dim: 4, decoder_base_dim: 4, z_dim: 4, dim_mult: [1, 2, 2], num_res_blocks: 1,
  temperal_downsample: [true, true], patch_size: 2, scale_factor_spatial: 8}
speech: {encoder: mel, channels: 80, extra_window: 0}
geometry: {crop_size: 32, clip_frames: 9, motion_latents: 1}
train: {max_steps: 4, global_batch_size: 4, micro_batch_size: 2, learning_rate: 3.0e-3, warmup_steps: 1,
  mixed_precision: float32, save_every: 100, log_every: 1, num_workers: 0, ema_decay: 0.9}
"""


def toy_file(folder: Path) -> Path:
    path = folder / "toy.yaml"
    path.write_text(TOY)
    return path


def toy_vae(folder: Path) -> Path:
    """A saved autoencoder with random weights."""
    toy_file(folder)
    path = folder / "vae"
    path.mkdir(exist_ok=True)
    files, state = _vae_files()
    for name, content in files.items():
        (path / name).write_bytes(content)
    # What is drawn next is as if it had just been made.
    torch.set_rng_state(state)
    return path


@cache
def _vae_files() -> tuple[dict[str, bytes], torch.Tensor]:
    """The files of the autoencoder, and the state of the random numbers when it has been made."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = load_config(Stage2Config, [toy_file(folder)]).vae
        vae = build_vae(config)
        state = torch.get_rng_state()
        vae.save_pretrained(folder / "vae")
        return {file.name: file.read_bytes() for file in (folder / "vae").iterdir()}, state


def stage2_config(folder: Path, *overrides: str) -> Stage2Config:
    """Toy configuration of the editor, on the shards and the autoencoder in ``folder``."""
    words = [
        f"vae.path={folder / 'vae'}",
        f"data.shards=[{folder / 'pairs'}]",
        f"train.output={folder / 'run'}",
    ]
    return load_config(Stage2Config, [toy_file(folder)], [*words, *overrides])


def run_editor(folder: Path, *overrides: str) -> TrainResult:
    """Train the toy editor on the shards and the autoencoder in ``folder``."""
    config = stage2_config(folder, *overrides)
    dataset = open_shards(config.data)
    return train(config, EditorStrategy(config, dataset), dataset)


def stage1_config(folder: Path, *overrides: str) -> Stage1Config:
    words = [
        f"vae.path={folder / 'vae'}",
        f"data.shards=[{folder / 'clips'}]",
        f"train.output={folder / 'run'}",
    ]
    layout = ["model.reference_layout=temporal", "model.condition_channels=4", "references.count=2"]
    return load_config(Stage1Config, [toy_file(folder)], [*words, *layout, *overrides])


def metrics(run: Path) -> list[dict[str, Any]]:
    """The rows that a training run logged."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def saved(run: Path, step: int, group: str = "model") -> dict[str, torch.Tensor]:
    """A group of tensors of the checkpoint of one step: "model", "ema" or "optimizer"."""
    return Checkpoint(run / f"step-{step:08d}", {}).tensors(group)


def write_pairs(
    folder: Path,
    count: int = 8,
    frames: int = FRAMES,
    landmarks: bool = False,
    audio_channels: int = 80,
    own_mouths: bool = False,
    **meta: str,
) -> ShardDataset:
    """Cached pairs: smooth latents, so that there is something to learn.

    ``own_mouths``: with what is known of rebuilt clips.
    """
    arrays = {"landmarks": landmarks, "own_mouths": own_mouths}
    return _write(folder, count, frames, meta, stage=2, audio_channels=audio_channels, **arrays)


def write_sized_pairs(folder: Path, shapes: Sequence[tuple[int, int]]) -> ShardDataset:
    """Cached pairs of given (frames, side of the latents), in shards of four."""
    rng = np.random.default_rng(0)
    with ShardWriter(folder, "toy", 4, {**fingerprints(folder.parent), "step": "test"}) as writer:
        for i, (frames, side) in enumerate(shapes):
            latents = (frames - 1) // 4 + 1
            target = rng.normal(size=(CHANNELS, latents, side, side)).astype(np.float32)
            sound = rng.normal(size=(2 * frames + 12, 80)).astype(np.float32)
            cache = {"target_latents": target, "source_latents": target + 0.1, "audio_features": sound}
            masks = {name: np.ones((latents, side, side), np.uint8) for name in ("lip_mask", "face_mask")}
            writer.add(f"toy{i}", encode_sample({"frames": frames, "fps": 25.0}, arrays=masks, cache=cache))
    return ShardDataset(folder)


def write_clips(
    folder: Path, count: int = 8, stills: int = 3, audio_channels: int = 80, **meta: str
) -> ShardDataset:
    """Cached clips of stage 1 with a masked video and stills."""
    return _write(folder, count, FRAMES, meta, stage=1, stills=stills, audio_channels=audio_channels)


def write_raw_pairs(
    folder: Path, count: int, frames: int, make: Any, sound: Any, **arrays: Any
) -> ShardDataset:
    """Pairs without a cache: videos, sound and masks alone."""
    latents = (frames - 1) // 4 + 1
    with ShardWriter(folder, "raw", 4, {"step": "test"}) as writer:
        for i in range(count):
            masks = {name: np.ones((latents, SIDE, SIDE), np.uint8) for name in ("lip_mask", "face_mask")}
            members = encode_sample(
                {"frames": frames, "fps": 25.0},
                target=make(frames, 32, 32, seed=i),
                source=make(frames, 32, 32, seed=i + 100),
                audio=sound(frames / 25),
                arrays={**masks, **arrays},
            )
            writer.add(f"raw{i}", members)
    return ShardDataset(folder)


def toy_face() -> Any:
    """Landmarks (68, 3) of a face that fills a crop of 32 px."""
    return face_in_box(np.array([4, 4, 28, 30], np.float32))


def fingerprints(folder: Path) -> dict[str, str]:
    """What the encoders of the toy configuration call themselves."""
    content = tuple(file.read_bytes() for file in sorted((folder / "vae").iterdir()))
    if content not in _FINGERPRINTS:
        config = stage2_config(folder)
        _FINGERPRINTS[content] = {
            "vae": VideoCodec(build_vae(config.vae)).fingerprint,
            "speech": build_speech_encoder(config.speech).fingerprint,
        }
    return _FINGERPRINTS[content]


_FINGERPRINTS: dict[tuple[bytes, ...], dict[str, str]] = {}


def _write(
    folder: Path,
    count: int,
    frames: int,
    meta: dict[str, str],
    stage: int,
    stills: int = 0,
    landmarks: bool = False,
    own_mouths: bool = False,
    audio_channels: int = 80,
) -> ShardDataset:
    rng = np.random.default_rng(0)
    latents = (frames - 1) // 4 + 1
    index_meta = {**fingerprints(folder.parent), "step": "test", **meta}
    with ShardWriter(folder, "toy", 4, index_meta) as writer:
        for i in range(count):
            base = rng.normal(size=(CHANNELS, 1, 1, 1)).astype(np.float32)
            target = np.broadcast_to(base, (CHANNELS, latents, SIDE, SIDE)).copy()
            cache: dict[str, Any] = {
                "target_latents": target,
                "audio_features": rng.normal(size=(2 * frames + 12, audio_channels)).astype(np.float32),
            }
            if stage == 2:
                cache["source_latents"] = target + 0.1
            else:
                cache["masked_latents"] = target * 0.5
                cache["reference_latents"] = rng.normal(size=(stills, CHANNELS, 1, SIDE, SIDE)).astype(
                    np.float32
                )
            arrays = {name: np.ones((latents, SIDE, SIDE), np.uint8) for name in ("lip_mask", "face_mask")}
            if landmarks:
                arrays["landmarks"] = np.stack([toy_face()] * frames)
            if own_mouths:
                arrays["reliability"] = rng.integers(0, 256, (latents, SIDE, SIDE)).astype(np.uint8)
                arrays["lip_shapes"] = rng.normal(size=(frames, 7)).astype(np.float32)
            sample = {"frames": frames, "fps": 25.0}
            writer.add(f"toy{i}", encode_sample(sample, arrays=arrays, cache=cache))
    return ShardDataset(folder)
