"""A window of the public 5B editor without numbers: shapes, devices and dtypes, as on an absent GPU.

Nothing is computed and nothing takes memory (PyTorch's "meta" device); what a GPU would refuse is refused
(:mod:`one_device`).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from one_device import OneDevice

from common.autoencoder.codec import VideoCodec, build_vae
from common.config import load_config
from common.diffusion.config import DiffusionConfig
from common.diffusion.windows import Window
from common.models.conventions import RELEASE, TBDUB_STUDENT, Conventions
from common.models.load import narrowed
from common.models.package import ModelPackage
from common.models.package_info import PackageInfo
from common.models.speed import SpeedConfig
from common.models.transformer import build_transformer
from stage2_dubber.config import Stage2Config
from stage2_dubber.dub.editing.editor import WindowEditor
from stage2_dubber.dub.editing.windowed import WindowPart

WAN5B = Path(__file__).resolve().parent.parent / "configs" / "wan5b.yaml"
META = torch.device("meta")
DTYPES = (torch.bfloat16, torch.float32)
FRAMES, SHARED, LATENTS = 77, 5, (1, 48, 20, 32, 32)
XDUB = DiffusionConfig(num_steps=2, reference_scale=2.5, audio_scale=10.0)
STUDENT = DiffusionConfig(num_steps=2, shift=1.0, reference_scale=1.0, audio_scale=1.0, border_at_end=True)


def package(
    dtype: torch.dtype, diffusion: DiffusionConfig = XDUB, rules: Conventions = RELEASE, branches: str = ""
) -> ModelPackage:
    """Two of thirty blocks, which are all alike, in the dtypes of a package that was loaded in ``dtype``."""
    changes = ["model.gradient_checkpointing=false", "model.num_layers=2"]
    config = load_config(Stage2Config, [WAN5B], changes)
    with META:
        transformer, vae = build_transformer(config.model).eval(), build_vae(config.vae)
        context = torch.randn(1, 512, 4096)
    transformer.load_state_dict(narrowed(transformer, transformer.state_dict(), dtype), assign=True)
    info = PackageInfo(
        stage=2,
        phase="",
        geometry=config.geometry,
        speech=config.speech,
        diffusion=diffusion,
        conventions=rules,
    )
    speed = SpeedConfig(guidance_branches=branches or "sequential")
    return ModelPackage(info, transformer, VideoCodec(vae), context, Path(), speed)


@torch.inference_mode()
def sampled(made: ModelPackage) -> torch.Tensor:
    """The second window of a clip, by the editor's own way: noise from the CPU, speech from an array."""
    window = Window(FRAMES - SHARED, FRAMES, SHARED, FRAMES)
    speech = np.zeros((LATENTS[2], 8, 2048), np.float32)
    part = WindowPart(1, window, np.zeros((0,), np.uint8), 0, speech, window.start, "0-1")
    reference = torch.randn(LATENTS, device=META)
    with OneDevice():
        editor = WindowEditor(made, overlap=False)
        return editor._sampled(part, reference, reference[:, :, :2], lambda done, total: None)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("branches", ["sequential", "batched"])
def test_a_window_of_the_5b_editor_stays_on_its_device(dtype: torch.dtype, branches: str) -> None:
    latents = sampled(package(dtype, branches=branches))
    assert latents.device == META and latents.shape == LATENTS and latents.dtype == torch.float32


def test_a_window_of_the_two_step_student_does_too() -> None:
    latents = sampled(package(torch.bfloat16, STUDENT, TBDUB_STUDENT))
    assert latents.device == META and latents.shape == LATENTS


def test_what_is_elsewhere_or_of_another_dtype_is_refused() -> None:
    made = package(torch.bfloat16)
    with pytest.raises(RuntimeError, match="on cpu and meta"):
        sampled(replace(made, context=torch.randn(1, 512, 4096)))
    made.transformer.blocks[1].ffn.float()
    with pytest.raises(RuntimeError, match=r"(linear|mm): tensors of torch\.bfloat16 and torch\.float32"):
        sampled(made)
    row, table = torch.zeros(2, dtype=torch.long), torch.zeros(3, 4, device=META)
    with OneDevice():
        assert table[row].shape == (2, 4), "indices may lie in main memory"
        with pytest.raises(RuntimeError, match="embedding"):
            torch.nn.functional.embedding(row, table)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@torch.no_grad()
def test_the_autoencoder_stays_on_its_device(dtype: torch.dtype) -> None:
    config = load_config(Stage2Config, [WAN5B])
    with META:
        codec = VideoCodec(build_vae(config.vae).to(dtype))
    with OneDevice():
        latents = codec.encode_frames(np.zeros((1, 9, 128, 128, 3), np.uint8))
        assert latents.shape == (1, 48, 3, 8, 8) and latents.device == META
        assert latents.dtype == torch.float32
        video = codec.decode(latents)
    assert video.shape == (1, 3, 9, 128, 128) and video.device == META
