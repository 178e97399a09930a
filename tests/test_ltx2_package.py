"""bootdub import-ltx2: packages of a folder that stays where it is, and the parts that they run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLLTX2Audio, AutoencoderKLLTX2Video
from diffusers.pipelines.ltx2 import LTX2Vocoder
from ltx2_toys import write_joint_folder, write_lora, write_states, write_text_encoder
from safetensors.torch import load_file
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function
from typer.testing import CliRunner

from bootdub.cli.main import app
from common.errors import UserError
from common.models.ltx2.codecs import JointAudioCodec, JointVideoCodec, JointVocoder, mel_frames
from common.models.ltx2.package import load_joint_package
from common.models.package import load_package
from common.models.package_info import read_info
from common.speech.joint_mel import JointMelEncoder, mel_window

SMALL = ["geometry.crop_size=64", "geometry.clip_frames=17", "joint.num_steps=2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_joint_folder(tmp_path_factory.mktemp("ltx2") / "model")


def imported(folder: Path, output: Path, *words: object) -> Any:
    return CliRunner().invoke(app, ["import-ltx2", str(folder), "--output", str(output), *map(str, words)])


def refused(folder: Path, output: Path, *words: object) -> str:
    result = imported(folder, output, *words)
    assert result.exit_code == 2 and result.stderr.count("\n") == 1, result.output
    assert not output.exists()
    return str(result.stderr)


def test_a_package_refers_to_the_folder_and_holds_the_rest(folder: Path, tmp_path: Path) -> None:
    lora = write_lora(tmp_path / "lora.safetensors", {"reference_downscale_factor": "2"})
    states = write_states(tmp_path / "states.safetensors")
    words = ("--lora", lora, "--prompt-states", states, *SMALL, "joint.modulation=other_gate")
    planned = imported(folder, tmp_path / "made", *words, "--dry-run")
    assert planned.exit_code == 0 and "LTX-2.0" in planned.stdout
    assert "a window in bfloat16: 0.00 GiB" in planned.stdout and not (tmp_path / "made").exists()
    result = imported(folder, tmp_path / "made", *words)
    assert result.exit_code == 0, result.output
    info = read_info(tmp_path / "made")
    assert info.joint is not None and info.joint.model == str(folder)
    assert info.joint.conventions.reference_downscale == 2
    assert info.joint.conventions.modulation == "other_gate"
    package = load_joint_package(tmp_path / "made")
    assert package.info == info
    torch.testing.assert_close(package.prompts.positive.video, load_file(states)["video"])
    adapted = package.transformer.model.transformer_blocks[1].attn1.to_q
    assert hasattr(adapted, "lora_A")
    with pytest.raises(UserError, match="LTX-2"):
        load_package(tmp_path / "made")
    assert "exists already" in imported(folder, tmp_path / "made", *words).stderr
    again = imported(folder, tmp_path / "made", *words, "--overwrite")
    assert again.exit_code == 0, again.output


def test_the_text_encoder_is_asked_once(folder: Path, tmp_path: Path) -> None:
    whole = Path(shutil.copytree(folder, tmp_path / "whole"))
    write_text_encoder(whole)
    result = imported(whole, tmp_path / "made", *SMALL, "--prompt", "A person is speaking .")
    assert result.exit_code == 0, result.output
    found = load_file(tmp_path / "made" / "prompt.safetensors")
    assert {name: tuple(tensor.shape) for name, tensor in found.items()} == dict.fromkeys(
        ("video", "audio", "negative_video", "negative_audio"), (1, 1024, 8)
    )
    assert not torch.equal(found["video"], found["negative_video"])
    shutil.rmtree(whole / "text_encoder")
    shutil.rmtree(whole / "tokenizer")
    load_joint_package(tmp_path / "made")
    assert "--prompt-states" in refused(whole, tmp_path / "other", *SMALL)
    states = tmp_path / "made" / "prompt.safetensors"
    assert imported(whole, tmp_path / "other", *SMALL, "--prompt-states", states).exit_code == 0


def test_imports_are_refused_before_they_write(folder: Path, tmp_path: Path) -> None:
    states, out = write_states(tmp_path / "states.safetensors"), tmp_path / "made"
    given = ("--prompt-states", states)
    for words, said in (
        (("geometry.clip_frames=13",), "multiple of 8"),
        (("geometry.crop_size=48",), "multiples of 32"),
        (("geometry.crop_size=32",), "at least 64 pixels"),
        (("geometry.fps=12",), "far from the rates"),
        (("geometry.motion_latents=3", "geometry.clip_frames=17"), "motion_latents"),
        (("joint.perturbed_blocks=[2]",), "block 2"),
        (("joint.perturbed_scale=1",), "perturbed_blocks"),
        (("joint.distilled=true",), "text_scale"),
        (("joint.reference_time=after",), "reference_time"),
        (("--prompt", "x"), "--prompt-states"),
    ):
        assert said in refused(folder, out, *given, *words)
    wide = write_states(tmp_path / "wide.safetensors", width=9)
    assert "(1, length, 8)" in refused(folder, out, "--prompt-states", wide)
    lone = write_states(tmp_path / "lone.safetensors", negative=False)
    assert "negative" in refused(folder, out, "--prompt-states", lone)
    foreign = write_lora(tmp_path / "lora.safetensors", width=32)
    assert "another version" in refused(folder, out, *given, "--lora", foreign)
    halved = write_lora(tmp_path / "half.safetensors", {"reference_downscale_factor": "2"})
    assert "32" in refused(folder, out, *given, "--lora", halved, "geometry.crop_size=32")
    assert "no model package" in imported(folder, tmp_path, *given).stderr


def test_a_package_knows_its_folder_again(folder: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(folder, tmp_path / "own"))
    states = write_states(tmp_path / "states.safetensors")
    assert imported(own, tmp_path / "made", *SMALL, "--prompt-states", states).exit_code == 0
    config = own / "vae" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"scaling_factor": 2.0}))
    with pytest.raises(UserError, match="not the one"):
        load_joint_package(tmp_path / "made")
    shutil.rmtree(own)
    with pytest.raises(UserError, match="is not there"):
        load_joint_package(tmp_path / "made")


def test_pictures_are_coded_as_diffusers_does(folder: Path) -> None:
    vae = AutoencoderKLLTX2Video.from_pretrained(folder / "vae")
    noise = torch.Generator().manual_seed(0)
    vae.latents_mean.copy_(torch.randn(128, generator=noise))
    vae.latents_std.copy_(torch.rand(128, generator=noise) + 0.5)
    codec = JointVideoCodec(vae)
    frames = np.random.default_rng(0).integers(0, 256, (1, 9, 64, 96, 3), np.uint8)
    latents = codec.encode_frames(frames)
    assert latents.shape == (1, 128, 2, 2, 3)
    video = torch.from_numpy(frames).movedim(-1, 1) / 127.5 - 1
    wanted = vae.encode(video).latent_dist.mode()
    mean, std = (x.view(1, -1, 1, 1, 1) for x in (vae.latents_mean, vae.latents_std))
    torch.testing.assert_close(latents, (wanted - mean) / std, atol=1e-5, rtol=1e-5)
    pictures = codec.decode_frames(latents)
    decoded = vae.decode(wanted).sample.movedim(1, -1)
    assert pictures.shape == frames.shape
    assert np.abs(pictures - ((decoded.numpy() + 1) * 127.5).clip(0, 255)).max() <= 0.51
    for shape in ((1, 8, 64, 32, 3), (1, 9, 64, 40, 3)):
        with pytest.raises(UserError):
            codec.encode_frames(np.zeros(shape, np.uint8))


def test_sound_becomes_tokens_and_sound_again(folder: Path) -> None:
    vae = AutoencoderKLLTX2Audio.from_pretrained(folder / "audio_vae")
    vae.latents_mean.fill_(0.25)
    vae.latents_std.fill_(2.0)
    codec = JointAudioCodec(vae)
    mel = torch.randn(1, 2, mel_frames(6), 64, generator=torch.Generator().manual_seed(0))
    tokens = codec.encode(mel)
    assert tokens.shape == (1, 6, 16)
    # Causal: what comes later changes nothing before.
    shorter = codec.encode(mel[:, :, : mel_frames(4)])
    torch.testing.assert_close(tokens[:, :4], shorter)
    wanted = vae.decode(vae.encode(mel).latent_dist.mode()).sample
    decoded = codec.decode(tokens)
    torch.testing.assert_close(decoded, wanted)
    assert decoded.shape == mel.shape
    vocoder = JointVocoder(LTX2Vocoder.from_pretrained(folder / "vocoder"))
    # 100 frames of the spectrogram per second.
    assert vocoder(decoded).shape == (1, 2, decoded.shape[2] * vocoder.rate // 100)
    with pytest.raises(UserError, match="64 mel bands"):
        codec.encode(mel[..., :32])


def test_the_spectrogram_is_that_of_the_original() -> None:
    audio = np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32)
    features = JointMelEncoder().encode(audio)
    assert features.shape == (25, 128)
    bank = mel_filter_bank(513, 64, 0.0, 8000.0, 16000, norm="slaney", mel_scale="slaney")
    wanted = spectrogram(
        audio,
        window_function(1024, "hann"),
        frame_length=1024,
        hop_length=160,
        power=1.0,
        mel_filters=bank,
        mel_floor=1e-5,
        log_mel="log",
    ).T
    mel = features.reshape(-1, 64)
    # The last windows hear silence where transformers mirror the end.
    np.testing.assert_allclose(mel[:46], wanted[:46], atol=2e-3)
    np.testing.assert_array_equal(mel_window(features, 0.1, 5), mel[10:15])
    beyond = mel_window(features, 0.49, 4)
    np.testing.assert_array_equal(beyond[1:], np.float32(JointMelEncoder.floor))
    np.testing.assert_array_equal(beyond[0], mel[49])
