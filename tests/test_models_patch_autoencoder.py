"""The autoencoder of blocks: causal, sharp from the start, and the same to the codec as AutoencoderKLWan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from common.autoencoder.codec import VideoCodec, build_vae, load_vae
from common.autoencoder.config import VaeConfig
from common.autoencoder.patch import PatchAutoencoder
from common.errors import UserError

CONFIG = VaeConfig(
    kind="patch",
    z_dim=24,
    width=16,
    encoder_layers=1,
    decoder_layers=1,
    refine_width=8,
    scale_factor_spatial=8,
)


def soft_video(seed: int, frames: int = 9, size: int = 32) -> torch.Tensor:
    """(1, 3, N, S, S): a few waves that drift."""
    rng = np.random.default_rng(seed)
    t, y, x = np.meshgrid(np.arange(frames), np.arange(size), np.arange(size), indexing="ij")
    waves = [
        np.sin(rng.uniform(0.05, 0.2) * x + rng.uniform(0.05, 0.2) * y + rng.uniform(0, 0.2) * t + k)
        for k in rng.uniform(0, 6, 3)
    ]
    return torch.tensor(np.stack(waves) * 0.8, dtype=torch.float32)[None]


def fitted(config: VaeConfig = CONFIG) -> PatchAutoencoder:
    torch.manual_seed(0)
    vae = build_vae(config)
    assert isinstance(vae, PatchAutoencoder)
    assert vae.fit_linear([soft_video(seed)[0] for seed in range(20)]) > 0.95
    return vae


def shaken(vae: PatchAutoencoder) -> PatchAutoencoder:
    """With all layers at work, the ones that begin at zero, too."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return vae


def test_principal_components_alone_reconstruct_what_is_like_the_training_videos() -> None:
    codec = VideoCodec(fitted())
    video = soft_video(100)
    latents = codec.encode(video)
    assert latents.shape == (1, 24, 3, 4, 4)
    error = (codec.decode(latents) - video).square().mean()
    assert 10 * torch.log10(4 / error) > 30


def test_a_prefix_has_the_latents_of_the_whole() -> None:
    vae = shaken(fitted())
    video = soft_video(3)
    whole = vae.encode(video).latent_dist.mode()
    prefix = vae.encode(video[:, :, :5]).latent_dist.mode()
    torch.testing.assert_close(whole[:, :, :2], prefix)
    torch.testing.assert_close(vae.decode(whole).sample[:, :, :5], vae.decode(prefix).sample)


def test_the_size_of_the_picture_is_free() -> None:
    vae = shaken(fitted())
    assert vae.decode(vae.encode(soft_video(3, size=48)).latent_dist.mode()).sample.shape == (1, 3, 9, 48, 48)


def test_it_is_saved_and_found_again(tmp_path: Path) -> None:
    vae = shaken(fitted())
    mark = VideoCodec(vae).fingerprint
    vae.save_pretrained(tmp_path / "vae")
    assert VideoCodec(load_vae(tmp_path / "vae")).fingerprint == mark
    loaded = build_vae(replace(CONFIG, path=str(tmp_path / "vae")))
    assert VideoCodec(loaded).fingerprint == mark


@pytest.mark.parametrize("change", [{"width": 8}, {"z_dim": 12}, {"kind": "wan"}])
def test_another_shape_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    fitted().save_pretrained(tmp_path / "vae")
    wanted = replace(CONFIG, path=str(tmp_path / "vae"), **change)  # type: ignore[arg-type]
    if change.get("kind") == "wan":
        wanted = replace(wanted, in_channels=12, out_channels=12, scale_factor_spatial=16)
    with pytest.raises(UserError):
        build_vae(wanted)


def test_gradients_with_and_without_checkpointing_are_equal() -> None:
    codec = VideoCodec(shaken(fitted()))
    latents = codec.encode(soft_video(5)).requires_grad_()
    gradients = []
    for checkpointing in (False, True):
        loss = codec.decode_with_grad(latents, checkpointing).square().sum()
        gradients.append(torch.autograd.grad(loss, latents)[0])
    torch.testing.assert_close(*gradients)
