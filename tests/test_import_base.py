"""A video model in diffusers' format as the starting point of training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from model_toys import tiny_hubert
from release_toys import (
    LATENT_CHANNELS,
    TEXT_DIM,
    empty_prompt,
    old_norm_name,
    silent,
    write_base,
    write_release,
)
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from bootdub.cli.main import app
from common.autoencoder.config import VaeConfig
from common.errors import UserError
from common.models.conditions import ModelConditions
from common.models.config import ModelConfig
from common.models.convert_wan import fresh_tensors
from common.models.package import load_package
from common.models.transformer import DubbingTransformer
from common.speech.build import build_speech_encoder
from common.speech.hubert import HubertEncoder
from common.training.start import load_start, starting_model
from stage2_dubber.dub.pipeline import DubPipeline

MEL = ("speech.encoder=mel", "speech.channels=80")
OPTIONS = ("fresh.audio_dim=16", "fresh.audio_layers=1", "heads.audio=2", "geometry.crop_size=32")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    folder = tmp_path_factory.mktemp("download") / "Wan2.2-TI2V-5B-Diffusers"
    wan, _, text = write_base(folder)
    return folder, wan, text


def run(folder: Path, output: Path, *flags: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["import-xdub", str(folder), "--output", str(output), *OPTIONS, *flags])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stderr


def wan_inputs() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    latents = torch.randn(2, LATENT_CHANNELS, 3, 4, 6, generator=generator)
    return latents, torch.randn(2, 5, TEXT_DIM, generator=generator)


@torch.no_grad()
def test_before_training_the_model_is_the_base_model(base: tuple[Path, Any, Any], tmp_path: Path) -> None:
    folder, wan, text = base
    assert len(list((folder / "transformer").glob("*.safetensors"))) > 1
    code, err = run(folder, tmp_path / "out", *MEL, "--shard-size", "20KB")
    assert code == 0, err
    package = load_package(tmp_path / "out", stage=2)
    model = package.transformer
    assert silent(model) and package.info.phase == "base"
    assert package.context is not None
    torch.testing.assert_close(package.context, empty_prompt(text), atol=1e-5, rtol=1e-5)

    latents, context = wan_inputs()
    timestep = torch.tensor([637.0, 250.0])
    expected = wan(latents, timestep, context, return_dict=False)[0]
    for seed in (0, 1):
        heard = torch.randn(2, 3, 8, 80, generator=torch.Generator().manual_seed(seed))
        torch.testing.assert_close(
            model(latents, timestep, ModelConditions(heard, text=context)), expected, atol=2e-5, rtol=1e-4
        )
    assert expected.abs().max() > 0.1
    # Text and image to video: the first frame is given, and its tokens have timestep 0.
    per_token = torch.cat([torch.zeros(2, 6), timestep[:, None].expand(2, 12)], dim=1)
    expected = wan(latents, per_token, context, return_dict=False)[0]
    conditions = ModelConditions(heard, text=context, motion=latents[:, :, :1])
    given = model(latents, timestep, conditions)
    torch.testing.assert_close(given, expected, atol=2e-5, rtol=1e-4)


def test_training_starts_from_it(base: tuple[Path, Any, Any], tmp_path: Path) -> None:
    assert run(base[0], tmp_path / "out", *MEL)[0] == 0
    sizes = ModelConfig(
        dim=24,
        num_heads=2,
        num_layers=2,
        ffn_dim=40,
        text_dim=TEXT_DIM,
        freq_dim=16,
        latent_channels=LATENT_CHANNELS,
        audio_channels=80,
        audio_dim=16,
        audio_heads=2,
        audio_layers=1,
    )
    start = load_start(str(tmp_path / "out"), sizes, VaeConfig())
    model = starting_model(start, sizes)
    assert all(parameter.requires_grad for parameter in model.parameters())
    latents, context = wan_inputs()
    heard = torch.randn(2, 3, 8, 80)
    conditions = ModelConditions(heard, latents, context)
    out = model(latents, torch.tensor([500.0, 500.0]), conditions)
    out.square().mean().backward()
    gradients = [block.audio_attn.to_out[0].weight.grad for block in model.blocks]
    assert all(gradient is not None and gradient.any() for gradient in gradients)  # it can leave zero
    with pytest.raises(UserError, match="starting point for training"):
        DubPipeline.from_pretrained(tmp_path / "out")


def test_it_can_be_given_the_public_ears(base: tuple[Path, Any, Any], tmp_path: Path) -> None:
    toy = write_release(tmp_path / "checkpoints")
    code, err = run(base[0], tmp_path / "out")
    assert code == 2 and "--speech" in err
    code, err = run(base[0], tmp_path / "out", "--speech", str(toy.folder))
    assert code == 0, err
    info = load_package(tmp_path / "out").info
    assert info.speech.channels == 24 and info.speech.path == str(tmp_path / "out" / "speech")


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_it_can_be_given_hubert(base: tuple[Path, Any, Any], tmp_path: Path, kind: str) -> None:
    """As it is published: tensors under old names, in safetensors or pickled by torch."""
    model = tiny_hubert()
    folder = tmp_path / "speech" / "hubert-large-ll60k"
    folder.mkdir(parents=True)
    model.config.save_pretrained(folder)
    state = {old_norm_name(name): tensor.clone() for name, tensor in model.state_dict().items()}
    if kind == "bin":
        torch.save(state, folder / "pytorch_model.bin")
    else:
        save_file(state, folder / "model.safetensors")
    options = ("speech.encoder=hubert", "speech.channels=64")
    code, err = run(base[0], tmp_path / "out", *options)
    assert code == 2 and "hubert-large-ll60k" in err
    code, err = run(base[0], tmp_path / "out", *options, "--speech", str(tmp_path / "speech"))
    assert code == 0, err
    info = load_package(tmp_path / "out").info
    encoder = build_speech_encoder(info.speech)
    assert encoder.fingerprint == info.speech_fingerprint and encoder.channels == 64
    audio = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    model.save_pretrained(tmp_path / "own" / "hubert")
    np.testing.assert_allclose(
        encoder.encode(audio), HubertEncoder(tmp_path / "own").encode(audio), atol=1e-6
    )


def test_fresh_layers_are_initialised_as_a_models_own() -> None:
    config: dict[str, Any] = {
        "dim": 64,
        "num_heads": 2,
        "num_layers": 2,
        "ffn_dim": 32,
        "audio_channels": 40,
        "audio_dim": 48,
        "audio_heads": 2,
        "audio_layers": 1,
        "text_tokens": 0,
    }
    model = DubbingTransformer(**config)
    model.init_weights(silent_audio=True)
    own, makers = model.state_dict(), fresh_tensors(config, seed=0)
    assert {name for name in own if "audio" in name or "norm4" in name} == makers.keys()
    for name, make in makers.items():
        made = make()
        assert made.shape == own[name].shape and torch.equal(made, make())
        if own[name].ndim == 2 and own[name].any():  # drawn: of the same law
            torch.testing.assert_close(made.std(), own[name].std(), rtol=0.1, atol=0)
            torch.testing.assert_close(made.abs().max(), own[name].abs().max(), rtol=0.05, atol=0)
        else:
            torch.testing.assert_close(made, own[name])
    again = fresh_tensors(config, seed=1)
    name = "blocks.1.audio_attn.to_q.weight"
    assert not torch.equal(makers[name](), again[name]())
    assert not torch.equal(makers[name](), makers["blocks.0.audio_attn.to_q.weight"]())


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("transformer/config.json", {"_class_name": "FluxTransformer2DModel"}, "FluxTransformer2DModel"),
        ("transformer/config.json", {"image_dim": 1280}, "image_dim"),
        ("transformer/config.json", {"num_layers": 3}, "blocks.2."),
        ("transformer/config.json", {"ffn_dim": 41}, "ffn.net.0.proj"),
        ("vae/config.json", {"_class_name": "AutoencoderKL"}, "AutoencoderKLWan"),
        ("vae/config.json", {"num_res_blocks": 2}, "lacks the tensor"),
    ],
)
def test_a_folder_that_contradicts_itself_is_refused(
    tmp_path: Path, file: str, change: dict[str, Any], words: str
) -> None:
    write_base(tmp_path / "base")
    path = tmp_path / "base" / file
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    code, err = run(tmp_path / "base", tmp_path / "out", *MEL)
    assert code == 2 and words in err and not (tmp_path / "out").exists()


@pytest.mark.parametrize("damage", ["shard", "index", "tensor"])
def test_shards_that_are_not_whole_are_named(tmp_path: Path, damage: str) -> None:
    write_base(tmp_path / "base")
    folder = tmp_path / "base" / "transformer"
    shard = sorted(folder.glob("*.safetensors"))[1]
    index = folder / "diffusion_pytorch_model.safetensors.index.json"
    if damage == "shard":
        shard.unlink()
    elif damage == "index":
        content = json.loads(index.read_text())
        content["weight_map"] = {name: f"../{file}" for name, file in content["weight_map"].items()}
        index.write_text(json.dumps(content))
    else:
        state = load_file(shard)
        save_file(dict(list(state.items())[1:]), shard)
    code, err = run(tmp_path / "base", tmp_path / "out", *MEL)
    assert code == 2 and (index.name if damage == "index" else shard.name) in err
    assert not (tmp_path / "out").exists()
