"""The public 5B geometry on PyTorch's "meta" device: shapes, devices and dtypes of all tensors, no numbers.

An operation on tensors of two devices, or of dtypes that do not go together, raises there as it would on a
GPU; nothing is computed and nothing takes memory.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from common.autoencoder.codec import VideoCodec, build_vae
from common.config import load_config
from common.diffusion.config import DiffusionConfig
from common.diffusion.sampler import build_sampler
from common.models.conditions import ModelConditions
from common.models.load import narrowed
from common.models.transformer import build_transformer
from stage2_dubber.config import Stage2Config

WAN5B = Path(__file__).resolve().parent.parent / "configs" / "wan5b.yaml"
DTYPES = (torch.bfloat16, torch.float32)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batched", [False, True])
def test_a_window_of_the_5b_editor_stays_on_its_device(dtype: torch.dtype, batched: bool) -> None:
    # All blocks are alike: two of thirty.
    config = load_config(Stage2Config, [WAN5B], ["model.gradient_checkpointing=false", "model.num_layers=2"])
    guided = DiffusionConfig(reference_scale=2.5, audio_scale=10.0)
    sampler = replace(build_sampler(guided), batch_branches=batched)
    with torch.no_grad():
        with torch.device("meta"):
            transformer = build_transformer(config.model)
        transformer.load_state_dict(narrowed(transformer, transformer.state_dict(), dtype), assign=True)
        latents = torch.randn(1, 48, 20, 32, 32, device="meta")
        conditions = ModelConditions(
            torch.randn(1, 20, 8, 2048, device="meta"),
            latents,
            torch.randn(1, 512, 4096, device="meta"),
            motion=latents[:, :, :2],
        )
        noise = torch.randn(latents.shape).to("meta")  # drawn on the CPU, as the editor does
        shown = sampler.shown(noise, 0.8, noise, conditions)
        velocity = sampler.velocity(transformer, shown, 0.8, conditions)
        done = sampler.finished(noise - 0.8 * velocity, noise, conditions)
        assert done.device.type == "meta" and done.shape == latents.shape and done.dtype == torch.float32
        with pytest.raises(RuntimeError):  # the check can fail
            transformer(noise.cpu(), torch.ones(1, device="meta"), conditions)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_autoencoder_stays_on_its_device(dtype: torch.dtype) -> None:
    config = load_config(Stage2Config, [WAN5B])
    with torch.no_grad():
        with torch.device("meta"):
            codec = VideoCodec(build_vae(config.vae).to(dtype))
        latents = codec.encode(torch.rand(1, 3, 9, 512, 512, device="meta"))
        assert latents.shape == (1, 48, 3, 32, 32) and latents.device.type == "meta"
        assert latents.dtype == torch.float32
        video = codec.decode(latents)
        assert video.shape == (1, 3, 9, 512, 512) and video.device.type == "meta"
