"""Silence after a recording does not change what is heard of the recording."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from model_toys import tiny_hubert
from release_toys import toy_wav2vec2, toy_whisper

from common.speech.base import SpeechEncoder
from common.speech.hubert import HubertEncoder
from common.speech.mel import MelEncoder
from common.speech.pretrained import PretrainedEncoder
from common.speech.silence import encode_until


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SpeechEncoder]:
    folder = tmp_path_factory.mktemp("speech")
    torch.manual_seed(0)
    toy_whisper().save_pretrained(folder / "whisper")
    toy_wav2vec2().wav2vec2.save_pretrained(folder / "wav2vec2")
    tiny_hubert().save_pretrained(folder / "hubert")
    made: list[SpeechEncoder] = [MelEncoder(), PretrainedEncoder(folder), HubertEncoder(folder)]
    return {encoder.name: encoder for encoder in made}


SPEECH = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)


@pytest.mark.parametrize("name", ["mel", "whisper+wav2vec2", "hubert"])
def test_features_of_the_speech_stay(encoders: dict[str, SpeechEncoder], name: str) -> None:
    alone = encoders[name].encode(SPEECH)
    longer = encode_until(encoders[name], SPEECH, 48000)
    # Of mel bands the last window reaches 256 samples beyond its feature's middle.
    np.testing.assert_allclose(longer[:48], alone[:48], atol=1e-6)
    assert len(longer) >= 127 and (longer[:100] != longer[-1]).any()
    np.testing.assert_array_equal(encode_until(encoders[name], SPEECH, 8000), alone)


def test_silence_follows_as_it_is_heard_by_itself(encoders: dict[str, SpeechEncoder]) -> None:
    encoder = encoders["whisper+wav2vec2"]
    longer = encode_until(encoder, SPEECH, 48000)
    np.testing.assert_array_equal(longer[50:], encoder.encode(np.zeros(32000, np.float32)))
    appended = encoder.encode(np.pad(SPEECH, (0, 32000)))
    assert np.abs(appended[:48] - longer[:48]).max() > 1e-2, "appended silence is heard in the speech"
    assert len(encode_until(encoder, SPEECH, 16100)) == 51
