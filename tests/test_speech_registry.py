"""What every registered speech encoder keeps to, and what a new one takes: a class and a line."""

from __future__ import annotations

import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dub_clips import BOX, steady, write_clip, write_package, write_speech
from model_toys import tiny_hubert
from release_toys import toy_wav2vec2, toy_whisper
from typer.testing import CliRunner
from unit_toys import UNITS, write_units

from bootdub.cli.main import app
from common.config import load_config
from common.errors import UserError
from common.speech.base import SilenceRule, feature_count
from common.speech.build import build_speech_encoder, encoder_class, speech_fingerprint
from common.speech.config import SpeechConfig
from common.speech.registry import ENCODERS
from stage2_dubber.importing.sources import speech_parts

PREDICTOR = Path(__file__).resolve().parent.parent / "models" / "bootdub-small" / "speech"
SOUND = np.random.default_rng(0).normal(0, 0.1, 16100).astype(np.float32)

LOUDNESS = """
    import numpy as np
    from common.files import fingerprint
    from common.speech.base import SilenceRule
    from common.speech.mel import MelEncoder

    class LoudnessEncoder:
        name, channels, silence, travels, chunkings = "loudness", 8, SilenceRule.together, False, ("overlap",)
        fingerprint = fingerprint(["loudness", 1, MelEncoder().fingerprint])

        @classmethod
        def of(cls, config, device):
            return cls()

        @classmethod
        def fingerprint_of(cls, config):
            return cls.fingerprint

        def encode(self, audio):
            loudness = MelEncoder().encode(audio).mean(axis=1)
            return np.eye(8, dtype=np.float32)[np.digitize(loudness, np.linspace(-1.5, 1.5, 7))]
"""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("speech")
    torch.manual_seed(0)
    toy_whisper().save_pretrained(folder / "whisper")
    toy_wav2vec2().wav2vec2.save_pretrained(folder / "wav2vec2")
    tiny_hubert().save_pretrained(folder / "hubert")
    write_units(folder / "units", "hubert", folder / "hubert")
    return folder


def configured(name: str, weights: Path) -> SpeechConfig:
    known = {"mel": 80, "ltx2-mel": 128, "lips": 8, "whisper+wav2vec2": 24, "hubert": 64, "units": UNITS}
    places = {"lips": PREDICTOR, "units": weights / "units"}
    return SpeechConfig(name, str(places.get(name, weights)), channels=known[name])


@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_every_encoder_keeps_the_promises(weights: Path, name: str) -> None:
    config = configured(name, weights)
    encoder = build_speech_encoder(config)
    assert encoder.name == name and encoder.fingerprint == speech_fingerprint(config)
    features = encoder.encode(SOUND)
    assert features.dtype == np.float32 and features.shape[1] == config.channels
    more = len(features) - feature_count(len(SOUND))
    assert more >= 0 if encoder.silence is SilenceRule.own else more == 0
    kind = encoder_class(name)
    assert "overlap" in kind.chunkings and isinstance(kind.travels, bool)
    if "release" in kind.chunkings:
        assert speech_fingerprint(replace(config, chunking="release")) != encoder.fingerprint
    else:
        with pytest.raises(UserError, match="knows overlap alone"):
            build_speech_encoder(replace(config, chunking="release"))
    with pytest.raises(UserError, match=f"encoder {name.replace('+', '.')} has"):
        build_speech_encoder(replace(config, channels=3))


@pytest.mark.parametrize("name", sorted(set(ENCODERS) - {"mel", "ltx2-mel"}))
def test_missing_weights_are_told_without_loading_any(tmp_path: Path, name: str) -> None:
    for build in (speech_fingerprint, build_speech_encoder):
        with pytest.raises(UserError, match=r"speech\.path"):
            build(SpeechConfig(name, str(tmp_path)))


def test_an_unknown_encoder_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match="loudness") as caught:
        load_config(SpeechConfig, overrides=["encoder=loudness"])
    assert all(name in str(caught.value) for name in ENCODERS)
    with pytest.raises(UserError, match="weights are not imported"):
        speech_parts(Path("model"), None, "lips")


def test_a_new_encoder_is_a_class_and_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "loudness_encoder.py").write_text(textwrap.dedent(LOUDNESS))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(ENCODERS, "loudness", "loudness_encoder.LoudnessEncoder")
    model = write_package(tmp_path / "model", encoder=("loudness", 8))
    video = write_clip(tmp_path / "v.mkv", steady(14, 25), lossless=True)
    place = ",".join(str(round(value)) for value in BOX)

    def dubbed(name: str, seconds: float) -> Any:
        audio = write_speech(tmp_path / f"{name}.wav", seconds)
        words = ["--video", video, "--audio", audio, "--output", tmp_path / f"{name}.mkv", "--model", model]
        done = CliRunner().invoke(app, ["dub", *map(str, words), "--box", place, "--lossless"])
        assert done.exit_code == 0, done.stderr
        return (tmp_path / f"{name}.mkv").read_bytes()

    assert dubbed("short", 0.2) != dubbed("whole", 0.56), "the speech is heard"
