"""The public 5B geometry without its 10 GB: shapes, types and devices alone (PyTorch's "meta" device).

A tensor that is made on the CPU while the model is elsewhere is an error here as it is on a GPU.
"""

from __future__ import annotations

import pytest
import torch

from common.autoencoder.codec import VideoCodec, build_vae
from common.autoencoder.config import VaeConfig
from common.diffusion.config import DiffusionConfig
from common.diffusion.sampler import build_sampler
from common.models.conditions import ModelConditions
from common.models.config import ModelConfig
from common.models.speed import SpeedConfig
from common.models.transformer import DubbingTransformer, build_transformer

META = torch.device("meta")
# 77 frames at 512 x 512 pixels, two of the latent frames given by the window before.
FRAMES, SIDE, MOTION = 20, 32, 2


@pytest.fixture(scope="module")
def transformer() -> DubbingTransformer:
    """Three of the thirty blocks, which are all alike."""
    with META:
        return build_transformer(ModelConfig(num_layers=3)).eval().to(torch.bfloat16)


def empty(*shape: int, device: torch.device = META) -> torch.Tensor:
    return torch.empty(shape, dtype=torch.bfloat16, device=device)


def conditions(audio_device: torch.device = META) -> ModelConditions:
    latents = empty(1, 48, FRAMES, SIDE, SIDE)
    return ModelConditions(
        audio_features=empty(1, FRAMES, 8, 2048, device=audio_device),
        reference=latents,
        text=empty(1, 512, 4096),
        motion=latents[:, :, :MOTION],
    )


@torch.no_grad()
@pytest.mark.parametrize("branches", ["sequential", "batched"])
def test_a_window_is_sampled_where_the_model_is(transformer: DubbingTransformer, branches: str) -> None:
    sampler = build_sampler(DiffusionConfig(num_steps=2), SpeedConfig(), batch_branches=branches == "batched")
    latents = sampler.sample(transformer, empty(1, 48, FRAMES, SIDE, SIDE), conditions())
    assert latents.device == META and latents.shape == (1, 48, FRAMES, SIDE, SIDE)


@torch.no_grad()
def test_a_condition_that_is_elsewhere_is_an_error(transformer: DubbingTransformer) -> None:
    with pytest.raises((RuntimeError, NotImplementedError)):
        transformer(empty(1, 48, FRAMES, SIDE, SIDE), empty(1), conditions(audio_device=torch.device("cpu")))


@torch.no_grad()
def test_the_autoencoder_works_where_it_is() -> None:
    with META:
        codec = VideoCodec(build_vae(VaeConfig()).to(torch.bfloat16))
    latents = codec.encode(empty(1, 3, 9, 128, 128))
    assert latents.device == META and latents.shape == (1, 48, 3, 8, 8)
    video = codec.decode(latents)
    assert video.device == META and video.shape == (1, 3, 9, 128, 128)
