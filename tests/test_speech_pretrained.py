"""Whisper and wav2vec2 through tiny random models: the public arithmetic, and no seams."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from golden import GOLDEN, REASON
from transformers import Wav2Vec2Config, Wav2Vec2Model, WhisperConfig, WhisperModel

from common.errors import UserError
from common.speech.build import build_speech_encoder, speech_fingerprint
from common.speech.chunks import hard_chunks, overlapping_chunks
from common.speech.config import SpeechConfig
from common.speech.pretrained import PretrainedEncoder
from common.speech.recording_norm import share_norm
from common.speech.whisper_mel import whisper_filters, whisper_log_mel

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools" / "bench"))

import speech_seams

VECTORS = GOLDEN / "whisper_tiny"
RENAMED = {  # OpenAI's key parts -> transformers'
    "encoder.": "",
    "blocks.": "layers.",
    "attn_ln": "self_attn_layer_norm",
    "mlp_ln": "final_layer_norm",
    "mlp.0": "fc1",
    "mlp.2": "fc2",
    "attn.query": "self_attn.q_proj",
    "attn.key": "self_attn.k_proj",
    "attn.value": "self_attn.v_proj",
    "attn.out": "self_attn.out_proj",
    "ln_post": "layer_norm",
    "positional_embedding": "embed_positions.weight",
}


def tiny_whisper(width: int = 48, layers: int = 3, heads: int = 3) -> WhisperModel:
    config = WhisperConfig(
        d_model=width,
        encoder_layers=layers,
        encoder_attention_heads=heads,
        encoder_ffn_dim=4 * width,
        decoder_layers=1,
        decoder_attention_heads=1,
        decoder_ffn_dim=8,
        num_mel_bins=80,
        vocab_size=8,
        max_target_positions=4,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    return WhisperModel(config)


def tiny_wav2vec2() -> Wav2Vec2Model:
    config = Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(8,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
    )
    return Wav2Vec2Model(config)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("speech")
    tiny_whisper().save_pretrained(folder / "whisper")
    tiny_wav2vec2().save_pretrained(folder / "wav2vec2")
    return folder


def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, int(16000 * seconds)).astype(np.float32)


@pytest.mark.parametrize("samples", [1, 319, 320, 321, 32000])
def test_fifty_features_per_second_whisper_first(models, samples):
    encoder = build_speech_encoder(SpeechConfig(path=str(models), channels=64))
    features = encoder.encode(noise(2)[:samples])
    assert features.shape == (-(-samples // 320), 64) and features.dtype == np.float32
    assert np.isfinite(features).all()


def test_features_are_repeatable_and_whisper_is_first(models):
    audio = noise(2)
    encoder = PretrainedEncoder(models)
    features = encoder.encode(audio)
    np.testing.assert_array_equal(features, encoder.encode(audio))
    whisper = WhisperModel.from_pretrained(models / "whisper").get_encoder().eval()
    kept = {}
    whisper.layers[-1].register_forward_hook(lambda module, args, result: kept.update(result=result))
    mel = whisper_log_mel(torch.from_numpy(audio), whisper_filters(whisper.config.num_mel_bins))
    columns = 2 * whisper.config.max_source_positions
    with torch.no_grad():
        whisper(torch.nn.functional.pad(mel, (0, columns - mel.shape[1]))[None])
    last = kept["result"][0] if isinstance(kept["result"], tuple) else kept["result"]
    np.testing.assert_allclose(features[:, :48], last.reshape(-1, 48)[:100].numpy(), atol=1e-5)


def test_short_recordings_do_not_depend_on_the_chunking(models):
    audio = noise(3)
    overlap, release = (PretrainedEncoder(models, chunking=name) for name in ("overlap", "release"))
    np.testing.assert_array_equal(overlap.encode(audio), release.encode(audio))
    assert overlap.fingerprint != release.fingerprint


def test_long_recordings_have_no_seam(models):
    audio = noise(33.5)
    jumps = [
        np.abs(np.diff(PretrainedEncoder(models, chunking=name).encode(audio), axis=0)).mean(axis=1)
        for name in ("overlap", "release")
    ]
    assert jumps[1].argmax() == 1499  # hard windows meet there
    assert jumps[1][1499] > 1.5 * np.median(jumps[1])
    assert jumps[0].shape == jumps[1].shape
    assert jumps[0][1499] < 1.5 * np.median(jumps[0]) and jumps[0].max() < 0.8 * jumps[1][1499]


@pytest.mark.parametrize("count", [40, 41, 75, 100, 101, 133])
def test_overlapping_chunks_fade(count):
    calls = []

    def encode(first: int, end: int) -> np.ndarray:
        calls.append((first, end))
        return np.full((end - first, 2), len(calls), np.float32)  # every window disagrees by 1

    faded = overlapping_chunks(count, 40, 12, encode)
    assert faded.shape == (count, 2) and all(end - first == 40 for first, end in calls)
    assert faded[0, 0] == 1 and faded[-1, 0] == len(calls)
    assert np.abs(np.diff(faded[:, 0])).max() <= 1 / 6 * 2 + 1e-6
    calls.clear()
    if count > 40:
        assert np.abs(np.diff(hard_chunks(count, 40, encode)[:, 0])).max() == 1


def test_chunks_that_agree_are_not_changed():
    truth = np.random.default_rng(0).normal(size=(131, 3)).astype(np.float32)
    for chunked in (
        overlapping_chunks(131, 40, 12, lambda first, end: truth[first:end]),
        hard_chunks(131, 40, lambda first, end: truth[first:end]),
    ):
        np.testing.assert_allclose(chunked, truth, atol=1e-6)


def test_missing_models_are_named(tmp_path, models):
    with pytest.raises(UserError, match="no whisper model"):
        build_speech_encoder(SpeechConfig(path=str(tmp_path)))
    with pytest.raises(UserError, match="no whisper model"):
        build_speech_encoder(SpeechConfig())
    (tmp_path / "whisper").symlink_to(models / "whisper")
    with pytest.raises(UserError, match="no wav2vec2 model"):
        build_speech_encoder(SpeechConfig(path=str(tmp_path)))
    with pytest.raises(UserError, match="has 64"):
        build_speech_encoder(SpeechConfig(path=str(models)))


def test_other_weights_have_another_fingerprint(tmp_path, models):
    (tmp_path / "wav2vec2").symlink_to(models / "wav2vec2")
    torch.manual_seed(1)
    tiny_whisper().save_pretrained(tmp_path / "whisper")
    assert PretrainedEncoder(tmp_path).fingerprint != PretrainedEncoder(models).fingerprint
    assert PretrainedEncoder(models).fingerprint == PretrainedEncoder(models).fingerprint


@pytest.mark.skipif(not VECTORS.is_dir(), reason=REASON)
def test_whisper_features_are_those_of_the_public_model(tmp_path):
    sizes = json.loads((VECTORS / "config.json").read_text())
    whisper = tiny_whisper(sizes["n_audio_state"], sizes["n_audio_layer"], sizes["n_audio_head"])
    state = {}
    for key, value in safetensors.torch.load_file(VECTORS / "weights.safetensors").items():
        for old, new in RENAMED.items():
            key = key.replace(old, new)
        state[key] = value
    whisper.get_encoder().load_state_dict(state)
    whisper.save_pretrained(tmp_path / "whisper")
    tiny_wav2vec2().save_pretrained(tmp_path / "wav2vec2")
    audio = safetensors.torch.load_file(VECTORS / "inputs.safetensors")["audio"].numpy()
    expected = safetensors.torch.load_file(VECTORS / "outputs.safetensors")["features_last"].numpy()
    features = PretrainedEncoder(tmp_path, chunking="release").encode(audio)
    np.testing.assert_allclose(features[:, : expected.shape[1]], expected, atol=1e-4)


@pytest.mark.parametrize("samples", [1000, 32000, 32100, 32300])
def test_features_end_as_those_of_the_release(models, samples):
    """R: each network has its own number of features, and indices beyond it are clamped."""
    audio = noise(3)[:samples]
    features = PretrainedEncoder(models, chunking="release").encode(audio)
    wav2vec2 = Wav2Vec2Model.from_pretrained(models / "wav2vec2").eval()
    level = torch.from_numpy((audio - audio.mean()) / np.sqrt(audio.var() + 1e-7))[None]
    with torch.no_grad():
        expected = wav2vec2(level).last_hidden_state[0].numpy()
    own = (samples - 400) // 320 + 1
    assert len(expected) == own
    np.testing.assert_allclose(features[:own, 48:], expected, atol=1e-5)
    assert (features[own:, 48:] == features[own - 1, 48:]).all()
    whole = samples // 320  # Whisper: two columns of the spectrogram each
    assert (features[whole:, :48] == features[whole - 1, :48]).all()
    assert len(features) == -(-samples // 320)


def test_the_release_hears_long_recordings_with_wav2vec2_in_one_pass(models):
    audio = noise(33.5)
    features = PretrainedEncoder(models, chunking="release").encode(audio)
    wav2vec2 = Wav2Vec2Model.from_pretrained(models / "wav2vec2").eval()
    level = torch.from_numpy((audio - audio.mean()) / np.sqrt(audio.var() + 1e-7))[None]
    with torch.no_grad():
        expected = wav2vec2(level).last_hidden_state[0].numpy()
    np.testing.assert_allclose(features[: len(expected), 48:], expected, atol=1e-5)


def test_the_fingerprint_needs_no_loading(models):
    config = SpeechConfig(path=str(models))
    assert speech_fingerprint(config) == PretrainedEncoder(models).fingerprint
    assert speech_fingerprint(replace(config, chunking="release")) != PretrainedEncoder(models).fingerprint


def test_seams_against_a_single_pass(tmp_path, capsys):
    speech_seams.write_toy(tmp_path)
    numbers = speech_seams.measure_seams(tmp_path, speech_seams.toy_speech())
    for network in ("whisper", "wav2vec2"):
        ours = numbers[f"overlap {network}"]
        assert ours["jump"] < 1.4  # 1.24 in the single pass itself
        assert ours["seam_error"] < 1.5 * ours["error"]  # hardly worse than any other place
    release, ours = numbers["release whisper"], numbers["overlap whisper"]
    assert release["jump"] > 1.2 * ours["jump"]
    assert release["seam_error"] > 1.5 * ours["seam_error"]
    assert numbers["release wav2vec2"]["error"] < 1e-4  # it is the single pass
    assert speech_seams.main(["--speech", str(tmp_path)]) == 2
    assert "--audio" in capsys.readouterr().err


def test_windows_are_normalised_as_the_whole(models):
    """wav2vec2's first layer hears other sound in every window, and normalises with one set of numbers."""
    model = Wav2Vec2Model.from_pretrained(models / "wav2vec2").eval()
    sound = torch.from_numpy(noise(3)) * torch.linspace(0.1, 1, 48000)
    with torch.no_grad():
        whole = model.feature_extractor(sound[None])
        own = model.feature_extractor(sound[None, 16000:32000])
        norm = share_norm(model)
        with norm.over(sound):
            shared = model.feature_extractor(sound[None, 16000:32000])
        torch.testing.assert_close(shared, whole[:, :, 50:][:, :, : shared.shape[2]], atol=1e-5, rtol=1e-4)
        assert (own - shared).abs().max() > 0.01
        torch.testing.assert_close(model.feature_extractor(sound[None]), whole)  # it is over
