"""Small generated clips for the dubbing tests."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from common.media import Encoding, VideoWriter, save_wav

RATE = 16000
WIDTH, HEIGHT = 160, 120
BOX = (50.0, 30.0, 110.0, 90.0)


def picture(index: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """A textured frame that changes with ``index``: gradients, fixed noise and a bar that wanders."""
    rows, columns = np.mgrid[0:height, 0:width]
    noise = np.random.default_rng(7).integers(0, 24, (height, width))
    base = np.stack([rows + noise, columns + noise, (rows + columns) // 2 + noise], axis=-1)
    base[:, (3 * index) % width : (3 * index) % width + 6] += 60
    return np.clip(base, 0, 255).astype(np.uint8)


def steady(count: int, rate: int) -> list[int]:
    """Time stamps of a constant rate."""
    return [round(index * 600 / rate) for index in range(count)]


def uneven(count: int, seed: int = 3) -> list[int]:
    """Time stamps of a variable rate: frames last between 1/60 and 1/12 of a second."""
    lengths = np.random.default_rng(seed).integers(10, 51, count - 1)
    return [0, *np.cumsum(lengths).tolist()]


def write_clip(
    path: Path, stamps: Sequence[int], lossless: bool = False, audio_from: Path | None = None
) -> Path:
    """A video with frames at ``stamps`` (ticks of 1/600 s); silent where no sound is given."""
    rate = Fraction(600, stamps[1] - stamps[0])
    with VideoWriter(
        path,
        WIDTH,
        HEIGHT,
        rate=rate,
        time_base=Fraction(1, 600),
        encoding=Encoding(crf=12, lossless=lossless),
        audio_from=audio_from,
    ) as writer:
        for index, stamp in enumerate(stamps):
            writer.write(picture(index), pts=stamp)
    return path


def write_speech(path: Path, seconds: float) -> Path:
    """A buzz whose loudness goes up and down four times a second."""
    time = np.arange(round(seconds * RATE)) / RATE
    tone = np.sign(np.sin(2 * np.pi * 140 * time)) * (0.5 + 0.5 * np.sin(2 * np.pi * 4 * time))
    save_wav(path, (0.3 * tone).astype(np.float32), RATE)
    return path


def write_package(
    folder: Path,
    stage: int = 2,
    clip_frames: int = 13,
    adapter_at: float | None = None,
    encoder: tuple[str, int] = ("mel", 80),
    **changes: Any,
) -> Path:
    """A randomly initialised model package: crops of 32 px, latents of 4x4.

    ``encoder``: name and channels of its speech encoder. ``adapter_at``: with an adapter that acts within .05
    of this noise level. ``changes``: arguments of the transformer.
    """
    import torch
    from model_toys import LATENT_CHANNELS, tiny_codec, tiny_transformer

    from common.diffusion.config import DiffusionConfig
    from common.geometry import GeometryConfig
    from common.models.adapters import Adapter, add_adapter
    from common.models.package import save_package
    from common.models.package_info import PackageInfo
    from common.speech.build import build_speech_encoder
    from common.speech.config import SpeechConfig

    name, channels = encoder
    speech = SpeechConfig(encoder=name, channels=channels, extra_window=2)
    painter = {"reference_layout": "temporal", "condition_channels": LATENT_CHANNELS} if stage == 1 else {}
    transformer = tiny_transformer(num_layers=1, audio_channels=channels, **painter, **changes)
    adapters: tuple[Adapter, ...] = ()
    if adapter_at is not None:
        add_adapter(transformer, "lip", 2, 2.0, ["ffn.net.2"])
        for name, parameter in transformer.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter)
        adapters = (Adapter("lip", (adapter_at - 0.05, adapter_at + 0.05)),)
    info = PackageInfo(
        stage=stage,
        phase="structure",
        geometry=GeometryConfig(crop_size=32, clip_frames=clip_frames),
        speech=speech,
        diffusion=DiffusionConfig(num_steps=2, reference_scale=1.5, audio_scale=3.0),
        speech_fingerprint=build_speech_encoder(speech).fingerprint,
        adapters=adapters,
        training={"references": 2} if stage == 1 else {},
    )
    save_package(folder, info, transformer, tiny_codec())
    return folder
