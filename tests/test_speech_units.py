"""speech.encoder=units: from recordings to a codebook, to a training, to a dub."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from dub_clips import BOX, steady, write_clip, write_speech
from model_toys import tiny_hubert, tiny_transformer
from safetensors.numpy import load_file, save_file
from training_toys import run_editor, toy_vae, write_pairs
from typer.testing import CliRunner
from unit_toys import UNITS, write_units

from bootdub.cli.main import app
from common.errors import UserError
from common.speech.build import build_speech_encoder
from common.speech.config import SpeechConfig
from common.speech_units.encoder import UnitEncoder, nearest
from common.speech_units.fit import fit_centres, main
from common.speech_units.sources import open_source

PREDICTOR = Path(__file__).resolve().parent.parent / "models" / "bootdub-small" / "speech"


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_units(tmp_path_factory.mktemp("units") / "fitted", "phonetics", PREDICTOR)


def test_batches_of_well_separated_heaps_give_their_means() -> None:
    random = np.random.default_rng(0)
    heaps = np.array([[0, 0], [100, 0], [0, 100]], np.float32)

    def batch(size: int) -> np.ndarray:
        return (heaps[random.integers(3, size=size)] + random.normal(size=(size, 2))).astype(np.float32)

    centres, explained = fit_centres((batch(200) for _ in range(10)), 3, seed=0)
    order = nearest(heaps, centres)
    assert sorted(order.tolist()) == [0, 1, 2]
    assert np.abs(centres[order] - heaps).max() < 1 and explained > 0.99
    with pytest.raises(UserError, match="too little speech for 5 units"):
        fit_centres([batch(3)], 5, seed=0)


def test_features_are_the_nearest_units_and_nothing_else(units: Path) -> None:
    encoder = UnitEncoder(units)
    random = np.random.default_rng(1)
    sound = (random.normal(0, 0.1, 48000) * np.repeat(random.random(24), 2000)).astype(np.float32)
    features = encoder.encode(sound)
    assert features.shape == (150, UNITS) and set(np.unique(features)) == {0.0, 1.0}
    assert (features.sum(axis=1) == 1).all() and (features.sum(axis=0) > 0).sum() > 1
    quantised = encoder._source.encode(sound)
    centres = load_file(units / "codebook.safetensors")["centres"]
    distances = np.linalg.norm(quantised[:, None] - centres[None], axis=2)
    assert np.array_equal(features.argmax(axis=1), distances.argmin(axis=1))


def test_layers_of_hubert_are_quantised_too(tmp_path: Path) -> None:
    tiny_hubert().save_pretrained(tmp_path / "hubert")
    encoder = UnitEncoder(write_units(tmp_path / "units", "hubert", tmp_path / "hubert"))
    shutil.rmtree(tmp_path / "hubert")  # the units bring what they need
    sound = np.random.default_rng(2).normal(0, 0.1, 16000).astype(np.float32)
    features = encoder.encode(sound)
    assert features.shape == (50, UNITS) and (features.sum(axis=1) == 1).all()
    assert (features.sum(axis=0) > 0).sum() > 1
    with pytest.raises(UserError, match="cannot be loaded as a HuBERT model"):
        write_units(tmp_path / "wrong", "hubert", PREDICTOR)
    with pytest.raises(UserError, match=r"has 12 layers, but units\.layer is 40"):
        open_source("hubert", tmp_path / "units" / "source", 40)


def test_a_model_is_trained_on_them_takes_them_along_and_dubs(units: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    shutil.copytree(units, own)
    toy_vae(tmp_path)
    fingerprint = build_speech_encoder(SpeechConfig("units", str(own), channels=UNITS)).fingerprint
    write_pairs(tmp_path / "pairs", audio_channels=UNITS, speech=fingerprint)
    heard = ["speech.encoder=units", f"speech.path={own}", f"speech.channels={UNITS}"]
    words = [*heard, f"model.audio_channels={UNITS}", "train.lr_schedule=constant"]
    for steps in (1, 2):
        package = run_editor(tmp_path, *words, f"train.max_steps={steps}").package
    shutil.rmtree(own)  # the package brings what it needs

    video = write_clip(tmp_path / "v.mkv", steady(14, 25), lossless=True)
    audio, place = write_speech(tmp_path / "a.wav", 0.56), ",".join(str(round(value)) for value in BOX)
    given = ["--video", video, "--audio", audio, "--output", tmp_path / "o.mkv", "--model", package]
    done = CliRunner().invoke(app, ["dub", *map(str, given), "--box", place])
    assert done.exit_code == 0, done.stderr

    other = tmp_path / "other"
    shutil.copytree(units, other)
    centres = load_file(other / "codebook.safetensors")["centres"]
    save_file({"centres": centres + 1}, other / "codebook.safetensors")
    fingerprint = build_speech_encoder(SpeechConfig("units", str(other), channels=UNITS)).fingerprint
    shutil.rmtree(tmp_path / "pairs")
    write_pairs(tmp_path / "pairs", audio_channels=UNITS, speech=fingerprint)
    words = [word.replace(str(own), str(other)) for word in words]
    with pytest.raises(UserError, match="trained on features of the speech encoder 'units'"):
        run_editor(tmp_path, *words, f"train.init_from={package}", f"train.output={tmp_path / 'next'}")


def test_the_first_layer_is_a_table_with_a_row_for_no_speech() -> None:
    layer = tiny_transformer(audio_channels=UNITS).audio_embedding.proj_in
    table = layer(torch.cat((torch.eye(UNITS), torch.zeros(1, UNITS))))
    torch.testing.assert_close(table[:-1] - table[-1], layer.weight.T)
    torch.testing.assert_close(table[-1], layer.bias)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["units.folders=[x]"], "output is empty"),
        (["output=o"], "units.folders is empty"),
        (["output=o", "units.folders=[{tmp}]"], "no audio file"),
        (["output=o", "units.source=mel"], "units.source"),
        (["output=o", "units.batch=10"], "units.batch"),
    ],
)
def test_what_cannot_be_fitted_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main([word.format(tmp=tmp_path) for word in words]) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("error: ") and error.count("\n") == 1


def test_a_dry_run_checks_the_network_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "speech").mkdir()
    write_speech(tmp_path / "speech" / "a.wav", 1.0)
    words = [f"output={tmp_path / 'units'}", f"units.folders=[{tmp_path / 'speech'}]", "--dry-run"]
    assert main(words) == 2 and "units.path" in capsys.readouterr().err
    assert main([*words, "units.source=phonetics", f"units.path={PREDICTOR}"]) == 0
    assert "200 clusters of phonetics, 1 s in 1 pieces" in capsys.readouterr().out
    assert not (tmp_path / "units").exists()
