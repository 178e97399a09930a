"""Mel features: in time, steady under gain, silent for silence."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import UserError
from common.speech.base import check_audio
from common.speech.build import build_speech_encoder
from common.speech.cache import CachedEncoder
from common.speech.config import SpeechConfig
from common.speech.mel import MelEncoder, mel_filters
from common.speech.silence import encode_until

RATE = 16000


def speech(seconds: float = 2.0, seed: int = 0) -> np.ndarray:
    """Buzz in syllables with pauses between them."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE)) / RATE
    syllables = np.clip(np.sin(2 * np.pi * 2.5 * time), 0, 1)
    buzz = sum(np.sin(2 * np.pi * 120 * k * time + rng.uniform(0, 6)) / k for k in range(1, 30))
    return (0.05 * syllables * buzz).astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(samples=st.integers(1, 5000))
def test_two_features_per_video_frame(samples):
    features = MelEncoder().encode(speech()[:samples])
    assert features.shape == (-(-samples // 320), 80) and features.dtype == np.float32
    assert np.isfinite(features).all()


@pytest.mark.parametrize("step", [0, 1, 7, 50])
def test_a_click_is_heard_when_it_happens(step):
    audio = np.zeros(RATE * 2, np.float32)
    audio[320 * step + 160] = 0.9
    energy = MelEncoder().encode(audio).mean(axis=1)
    assert energy.argmax() == step
    if step:
        assert energy[step - 1] == pytest.approx(energy[step + 1], abs=0.05)  # neither early nor late


@pytest.mark.parametrize("gain", [0.3, 0.5, 3.0])
def test_the_recording_level_does_not_matter(gain):
    audio = speech()
    np.testing.assert_allclose(MelEncoder().encode(gain * audio), MelEncoder().encode(audio), atol=2e-3)


def test_silence_around_speech_does_not_change_it():
    audio = speech()
    padded = np.concatenate([np.zeros(320 * 50, np.float32), audio, np.zeros(320 * 200, np.float32)])
    inner = MelEncoder().encode(padded)[50 : 50 + 100]
    np.testing.assert_allclose(inner[1:-1], MelEncoder().encode(audio)[1:-1], atol=1e-4)


@pytest.mark.parametrize(("bins", "bands", "low"), [(513, 80, 60.0), (201, 40, 0.0), (257, 20, 1200.0)])
def test_the_filters_are_those_of_the_libraries(bins, bands, low):
    from transformers.audio_utils import mel_filter_bank

    wanted = mel_filter_bank(bins, bands, low, RATE / 2, RATE, norm=None, mel_scale="slaney")
    np.testing.assert_allclose(mel_filters(bins, bands, low, RATE / 2), wanted, atol=1e-12)


def test_silence_is_the_floor_and_is_not_amplified():
    encoder = MelEncoder()
    assert (encoder.encode(np.zeros(RATE)) == np.float32(encoder.floor)).all()
    dither = np.random.default_rng(0).normal(0, 10 ** (-96 / 20), RATE)
    assert (encoder.encode(dither) == np.float32(encoder.floor)).all()
    hiss = np.random.default_rng(0).normal(0, 10 ** (-66 / 20), RATE)
    assert encoder.encode(hiss).mean() < encoder.encode(speech(1.0)).mean() - 0.3


def test_speech_is_about_centred():
    features = MelEncoder().encode(speech(4.0))
    assert abs(features.mean()) < 1.5 and 0.5 < features.std() < 2


def test_long_recordings_are_the_same_as_their_parts():
    audio = np.tile(speech(2.0), 50)  # longer than one internal block
    features = MelEncoder().encode(audio)
    np.testing.assert_allclose(features[4050:4150], features[50:150], atol=1e-4)


def test_no_sound_at_all_is_an_error():
    with pytest.raises(UserError, match="no samples"):
        MelEncoder().encode(np.zeros(0, np.float32))
    with pytest.raises(UserError, match="NaN"):
        MelEncoder().encode(np.full(RATE, np.nan))


def test_build_refuses_a_wrong_number_of_channels():
    assert build_speech_encoder(SpeechConfig(encoder="mel", channels=80)).name == "mel"
    with pytest.raises(UserError, match="has 80"):
        build_speech_encoder(SpeechConfig(encoder="mel", channels=64))


class CountingEncoder(MelEncoder):
    def __init__(self, version: str = "1") -> None:
        self.calls = 0
        self.version = version

    @property
    def fingerprint(self) -> str:
        return self.version

    def encode(self, audio):
        self.calls += 1
        return super().encode(audio)


def test_cache_knows_content_and_encoder(tmp_path):
    encoder = CountingEncoder()
    cached = CachedEncoder(encoder, tmp_path / "cache")
    audio = speech()
    first = cached.encode(audio)
    np.testing.assert_array_equal(cached.encode(audio.astype(np.float64)), first)
    assert encoder.calls == 1 and cached.channels == 80 and cached.name == "mel"
    changed = audio.copy()
    changed[1000] += 1e-3
    assert not np.array_equal(cached.encode(changed), first) and encoder.calls == 2
    other = CountingEncoder("2")
    CachedEncoder(other, tmp_path / "cache").encode(audio)
    assert other.calls == 1


def test_a_damaged_cache_file_is_made_again(tmp_path):
    encoder = CountingEncoder()
    cached = CachedEncoder(encoder, tmp_path)
    first = cached.encode(speech())
    (file,) = tmp_path.glob("*.safetensors")
    file.write_bytes(b"nonsense")
    np.testing.assert_array_equal(cached.encode(speech()), first)
    np.testing.assert_array_equal(cached.encode(speech()), first)
    assert encoder.calls == 2


@pytest.mark.parametrize("missing", [0, 700])
def test_samples_of_16_bits_give_the_same_features(missing: int) -> None:
    """Also with silence after them."""
    samples = (3000 * np.sin(np.arange(9000) / 7)).astype(np.int16)
    floats = samples.astype(np.float32) / 32768
    encoder, until = MelEncoder(), len(samples) + missing
    one, other = (encode_until(encoder, audio, until) for audio in (samples, floats))
    np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(check_audio(samples), floats)
    with pytest.raises(UserError, match="no samples"):
        encoder.encode(samples[:0])
