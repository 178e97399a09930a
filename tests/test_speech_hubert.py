"""HuBERT features: the published vectors of TBDub, and what holds for every recording."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from golden import GOLDEN, REASON
from model_toys import tiny_hubert
from safetensors.torch import load_file, save_file
from transformers import HubertConfig, HubertModel

from common.errors import UserError
from common.speech.hubert import HubertEncoder, with_tail
from common.speech.windows import audio_windows

VECTORS = GOLDEN / "hubert_tiny"


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("speech")
    tiny_hubert().save_pretrained(folder / "hubert")
    return folder


@pytest.mark.skipif(not VECTORS.is_dir(), reason=REASON)
@pytest.mark.parametrize("chunking", ["release", "overlap"])
def test_features_and_windows_are_those_of_the_release(tmp_path: Path, chunking: str) -> None:
    config = json.loads((VECTORS / "config.json").read_text())
    starts = config.pop("golden")["starts"]
    (tmp_path / "hubert").mkdir()
    (tmp_path / "hubert" / "config.json").write_text(json.dumps(config))
    weights = load_file(VECTORS / "weights.safetensors")
    save_file(weights, tmp_path / "hubert" / "model.safetensors", metadata={"format": "pt"})
    audio = load_file(VECTORS / "inputs.safetensors")["audio"].numpy()
    wanted = {key: value.numpy() for key, value in load_file(VECTORS / "outputs.safetensors").items()}

    tail = with_tail(audio)[len(audio) - 8 :][: len(wanted["padded_tail"])]
    np.testing.assert_allclose(tail, wanted["padded_tail"], atol=1e-7)
    features = HubertEncoder(tmp_path, chunking=chunking).encode(audio)
    np.testing.assert_allclose(features, wanted["features"], atol=1e-4)
    for start in starts:
        windows = audio_windows(features, start, 20)
        np.testing.assert_allclose(windows, wanted[f"window_start{start}"], atol=1e-4)


def test_a_long_recording_in_windows_is_close_to_one_pass(toy: Path) -> None:
    audio = np.random.default_rng(0).normal(0, 0.1, 16000 * 75).astype(np.float32)
    whole = HubertEncoder(toy, chunking="release").encode(audio)
    pieces = HubertEncoder(toy, chunking="overlap").encode(audio)
    assert whole.shape == pieces.shape and len(whole) >= 50 * 75
    assert not np.array_equal(whole, pieces), "75 s take two windows"
    assert np.abs(whole - pieces).mean() < 0.05 * whole.std()


def test_the_fingerprint_tells_chunking_and_weights_apart(toy: Path, tmp_path: Path) -> None:
    marks = {HubertEncoder(toy, chunking=kind).fingerprint for kind in ("release", "overlap")}
    config = HubertConfig.from_pretrained(toy / "hubert")
    torch.manual_seed(1)
    HubertModel(config).save_pretrained(tmp_path / "hubert")
    assert len(marks | {HubertEncoder(tmp_path).fingerprint}) == 3


def test_a_missing_or_too_shallow_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="hubert"):
        HubertEncoder(tmp_path)
    shallow = HubertConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, conv_dim=(8,) * 7
    )
    HubertModel(shallow).save_pretrained(tmp_path / "hubert")
    with pytest.raises(UserError, match="2 layers"):
        HubertEncoder(tmp_path)


def test_a_damaged_or_another_model_is_named(toy: Path, tmp_path: Path) -> None:
    for change, said in (
        (
            lambda folder: (folder / "model.safetensors").write_bytes(b"damaged"),
            "cannot be loaded as a HuBERT",
        ),
        (lambda folder: (folder / "config.json").write_text("{"), "not valid JSON"),
        (_of_another_kind, "of the kind 'wav2vec2' and no HuBERT model"),
        (
            lambda folder: _without(folder, "final_layer_norm.bias"),
            "lacks the weights 'encoder",
        ),
    ):
        shutil.rmtree(tmp_path, ignore_errors=True)
        shutil.copytree(toy / "hubert", tmp_path / "hubert")
        change(tmp_path / "hubert")
        with pytest.raises(UserError, match=said) as found:
            HubertEncoder(tmp_path)
        assert str(tmp_path / "hubert") in str(found.value)


def test_public_names_and_what_only_trainings_need_are_understood(toy: Path, tmp_path: Path) -> None:
    shutil.copytree(toy / "hubert", tmp_path / "hubert")
    older = {"original0": "weight_g", "original1": "weight_v"}
    weights = load_file(tmp_path / "hubert" / "model.safetensors")
    for name, public in older.items():
        (key,) = (key for key in weights if key.endswith(f"parametrizations.weight.{name}"))
        weights[key.replace(f"parametrizations.weight.{name}", public)] = weights.pop(key)
    del weights["masked_spec_embed"]
    save_file(weights, tmp_path / "hubert" / "model.safetensors", metadata={"format": "pt"})
    sound = np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32)
    np.testing.assert_array_equal(HubertEncoder(tmp_path).encode(sound), HubertEncoder(toy).encode(sound))


def _of_another_kind(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "wav2vec2"}))


def _without(folder: Path, end: str) -> None:
    weights = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if not name.endswith(end)}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
