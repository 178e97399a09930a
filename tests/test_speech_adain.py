"""model.speech_injection: speech as a scale and a shift of each latent frame, from arithmetic to a dub."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from dub_clips import BOX, steady, write_clip, write_package, write_speech
from model_toys import called, tiny_inputs, tiny_transformer
from training_toys import run_editor, saved, stage1_config, toy_vae, write_clips, write_pairs
from typer.testing import CliRunner

from bootdub.cli.main import app
from common.errors import UserError
from common.models.config import ModelConfig
from common.models.package import load_package
from common.models.speech_adain import SpeechAdaIN
from common.models.transformer import DubbingTransformer
from common.training.launch import train
from stage1_generator.generator.strategy import GeneratorStrategy

ADAIN = "model.speech_injection=adain"


def test_the_frames_channels_get_mean_and_spread_that_the_speech_says() -> None:
    torch.manual_seed(0)
    layer = SpeechAdaIN(6, 1e-6)
    tokens, features = torch.randn(4, 50, 6) * 3 + 1, torch.randn(4, 12, 6)
    out = layer(tokens, features)
    own = features[:, 2:10].double().numpy()  # the middle eight of twelve
    kernel, bias = (p.detach().double().numpy() for p in layer.conv.parameters())
    vector = np.einsum("btc,ct->bc", own, kernel[:, 0]) + bias
    weight, offset = (p.detach().double().numpy() for p in layer.linear.parameters())
    scale, shift = np.split(vector @ weight.T + offset, 2, axis=1)
    np.testing.assert_allclose(out.mean(dim=1).detach(), shift, atol=1e-4)
    np.testing.assert_allclose(out.std(dim=1, correction=0).detach(), np.abs(scale), atol=1e-4)


def test_a_latent_frame_hears_its_own_speech_alone() -> None:
    model = tiny_transformer(num_layers=1, speech_injection="adain")
    inputs = tiny_inputs()
    other = inputs["audio_features"].clone()
    other[:, 1] = other[:, 1].flip(1)  # the same features in another order
    before, after = (
        model(**called({**inputs, "audio_features": one})) for one in (inputs["audio_features"], other)
    )
    changed = (before - after).abs().amax(dim=(0, 1, 3, 4)) > 1e-4
    assert changed.tolist() == [False, True, False]


def test_it_is_smaller_and_silent_when_it_is_asked_to_be() -> None:
    model, attention = tiny_transformer(speech_injection="adain"), tiny_transformer()
    assert model.num_parameters() < attention.num_parameters()
    model.init_weights(silent_audio=True)
    torch.nn.init.normal_(model.head.head.weight)
    inputs = tiny_inputs()
    deaf = {**inputs, "audio_features": torch.zeros_like(inputs["audio_features"])}
    assert torch.equal(model(**called(inputs)), model(**called(deaf)))


def test_a_saved_model_keeps_it_and_older_ones_attend(tmp_path: Path) -> None:
    tiny_transformer(speech_injection="adain").save_pretrained(tmp_path)
    assert DubbingTransformer.from_pretrained(tmp_path).config.speech_injection == "adain"
    config = tmp_path / "config.json"
    tiny_transformer().save_pretrained(tmp_path)
    config.write_text(config.read_text().replace('"speech_injection": "cross_attention",', ""))
    assert DubbingTransformer.from_pretrained(tmp_path).config.speech_injection == "cross_attention"


def test_unknown_values_are_refused() -> None:
    with pytest.raises(UserError, match=r"model\.speech_injection"):
        ModelConfig(speech_injection="film")
    with pytest.raises(ValueError, match="speech_injection"):
        tiny_transformer(speech_injection="film")


def test_it_is_trained_goes_on_and_is_refused_where_the_other_was_learnt(tmp_path: Path) -> None:
    toy_vae(tmp_path)
    write_pairs(tmp_path / "pairs")
    steps = ["train.lr_schedule=constant", ADAIN]
    run_editor(tmp_path, *steps, "train.max_steps=3", f"train.output={tmp_path / 'whole'}")
    for count in (2, 3):
        result = run_editor(tmp_path, *steps, f"train.max_steps={count}", f"train.output={tmp_path / 'cut'}")
    whole, cut = (saved(tmp_path / name, 3) for name in ("whole", "cut"))
    assert whole.keys() == cut.keys() and all(torch.equal(whole[name], cut[name]) for name in whole)
    package = load_package(result.package, stage=2)
    assert package.transformer.config.speech_injection == "adain"

    with pytest.raises(UserError, match="model"):
        run_editor(tmp_path, "train.max_steps=4", f"train.output={tmp_path / 'cut'}")
    start = [f"train.init_from={result.package}", f"train.output={tmp_path / 'next'}"]
    with pytest.raises(UserError, match=r"speech_injection adain.*model\.speech_injection=adain"):
        run_editor(tmp_path, *start)
    adapter = ["phase.lora_rank=2", "phase.name=lip", "train.max_steps=1", ADAIN, *start]
    with pytest.raises(UserError, match=r"no layer of the model is called 'audio_attn\.to_q'"):
        run_editor(tmp_path, *adapter, "phase.lora_targets=[audio_attn.to_q]")
    run_editor(tmp_path, *adapter, "phase.lora_targets=[audio_adain.linear]")
    assert any("audio_adain.linear.lora_B" in name for name in saved(tmp_path / "next", 1))


def test_the_generator_is_trained_with_it_as_well(tmp_path: Path) -> None:
    toy_vae(tmp_path)
    dataset = write_clips(tmp_path / "clips")
    config = stage1_config(tmp_path, "train.max_steps=1", ADAIN)
    result = train(config, GeneratorStrategy(config, dataset), dataset)
    assert load_package(result.package, stage=1).transformer.config.speech_injection == "adain"


def test_a_package_of_it_dubs(tmp_path: Path) -> None:
    model = write_package(tmp_path / "model", speech_injection="adain")
    video = write_clip(tmp_path / "v.mkv", steady(14, 25), lossless=True)
    place = ",".join(str(round(value)) for value in BOX)

    def dubbed(name: str, seconds: float) -> bytes:
        audio = write_speech(tmp_path / f"{name}.wav", seconds)
        words = ["--video", video, "--audio", audio, "--output", tmp_path / f"{name}.mkv", "--model", model]
        done = CliRunner().invoke(app, ["dub", *map(str, words), "--box", place, "--lossless"])
        assert done.exit_code == 0, done.stderr
        return (tmp_path / f"{name}.mkv").read_bytes()

    assert dubbed("short", 0.2) != dubbed("whole", 0.56), "the speech is heard"
