"""Metrics of generated speech, on sounds whose spans, levels, voices and words are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from judge_toys import toy_speaker, toy_whisper
from perception_clips import make_dubbed_clip, make_footage

from common.errors import UserError
from evaluation.dubbed_clip import DubbedClip
from evaluation.metrics.perception import PerceptionWeights, load_measures
from evaluation.metrics.speech import (
    GeneratedSpeech,
    duration_error,
    intensity_correlation,
    is_generated,
    same_recording,
    speech_span,
)
from evaluation.metrics.voices import WhisperTranscriber, XVectorEncoder
from evaluation.metrics.words import edit_distance, word_error_rate, words

RATE = 16000
SILENCE = np.zeros(2 * RATE, np.float32)


def _noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * RATE)).astype(np.float32)


def _spoken(first: float, seconds: float, total: float = 3.0, seed: int = 0) -> np.ndarray:
    """Noise from ``first`` on for ``seconds``, silence around it."""
    sound = np.zeros(round(total * RATE), np.float32)
    burst = _noise(seconds, seed)
    sound[round(first * RATE) :][: len(burst)] = burst
    return sound


def _murmur(rhythm: float, seed: int, seconds: float = 3.0) -> np.ndarray:
    """Noise whose level goes up and down ``rhythm`` times a second, by 20 dB and more."""
    time = np.arange(round(seconds * RATE)) / RATE
    level = 10 ** (np.sin(2 * np.pi * rhythm * time) - 1)
    return (_noise(seconds, seed) * level).astype(np.float32)


# --------------------------------------------------------------------------------- pure functions


def test_the_span_of_speech_is_found_without_its_silence() -> None:
    first, end = speech_span(_spoken(0.5, 1.25))
    assert first / RATE == pytest.approx(0.5, abs=0.1) and end / RATE == pytest.approx(1.75, abs=0.1)
    hum = (0.0003 * np.sin(np.arange(3 * RATE))).astype(np.float32)  # more than 40 dB below the speech
    noisy = speech_span(_spoken(0.5, 1.25) + hum)
    assert np.abs(np.subtract(noisy, (first, end))).max() < 0.05 * RATE
    assert speech_span(SILENCE) == speech_span(SILENCE[:0]) == (0, 0)


def test_duration_error_is_relative_to_the_source() -> None:
    source = _spoken(0.3, 1.0)
    assert duration_error(_spoken(1.2, 1.5, seed=1), source) == pytest.approx(0.5, abs=0.07)
    assert duration_error(_spoken(0.0, 0.5, seed=1), source) == pytest.approx(0.5, abs=0.07)
    assert duration_error(10 * source, source) == pytest.approx(0, abs=0.02)
    assert duration_error(SILENCE, source) == 1.0
    assert duration_error(source, SILENCE) is None


def test_intensity_correlates_with_the_rhythm_and_not_with_the_voice_or_gain() -> None:
    source = _murmur(2.0, 0)
    assert intensity_correlation(0.3 * _murmur(2.0, 1), source) > 0.95  # type: ignore[operator]
    assert intensity_correlation(_murmur(3.3, 1), source) == pytest.approx(0, abs=0.25)
    shifted = np.roll(_murmur(2.0, 1), RATE // 4)  # half a period
    assert intensity_correlation(shifted, source) < -0.9  # type: ignore[operator]
    longer = np.concatenate([_murmur(2.0, 1), _noise(2)])
    assert intensity_correlation(longer, source) > 0.95  # type: ignore[operator]
    assert intensity_correlation(SILENCE, source) is None
    assert intensity_correlation(source[:2000], source) is None


def test_a_recording_is_known_again_through_gain_shift_and_coding() -> None:
    sound = _murmur(2.0, 0)
    coded = 0.4 * sound + 0.02 * _noise(3, 5)
    assert same_recording(coded, sound)
    assert same_recording(np.roll(sound, 3000), sound)
    assert not same_recording(_murmur(2.0, 1), sound)
    assert not same_recording(SILENCE, sound) and same_recording(SILENCE, SILENCE)
    assert same_recording(sound[: 2 * RATE], sound)


def test_word_errors_of_known_texts() -> None:
    assert words("It\u2019s  “Fine”, Él--said; 3 times_over!") == [
        "it's", "fine", "él", "said", "3", "times", "over",
    ]  # fmt: skip
    assert edit_distance(list("kitten"), list("sitting")) == 3
    assert word_error_rate("the cat sat", "The cat, sat.") == 0
    assert word_error_rate("the cat sat on the mat", "a cat sat the mat now") == pytest.approx(3 / 6)
    assert word_error_rate("one", "one two three") == 2
    assert word_error_rate("one two", "") == 1
    assert word_error_rate("...", "anything") is None
    assert word_error_rate("e\u0301te\u0301", "\u00e9t\u00e9") == 0


_sequences = st.lists(st.sampled_from("abc"), max_size=7)


@given(_sequences, _sequences, _sequences)
def test_edit_distance_is_a_metric(a: list[str], b: list[str], c: list[str]) -> None:
    assert edit_distance(a, b) == edit_distance(b, a)
    assert (edit_distance(a, b) == 0) == (a == b)
    assert edit_distance(a, c) <= edit_distance(a, b) + edit_distance(b, c)
    assert abs(len(a) - len(b)) <= edit_distance(a, b) <= max(len(a), len(b))


# --------------------------------------------------------------------------------------- the measure


class _Pitch:
    """A voice is where its spectrum lies."""

    name, fingerprint = "pitch", "pitch"

    def embed(self, sound: np.ndarray) -> np.ndarray:
        power = np.abs(np.fft.rfft(sound)) ** 2
        return np.array([part.sum() for part in np.array_split(power, 8)])


class _Parrot:
    """Knows what was said by the loudness."""

    name, fingerprint = "parrot", "parrot"

    def transcribe(self, sound: np.ndarray) -> str:
        return "good evening everybody" if np.abs(sound).max() > 0.2 else "good day everybody"


LOUD, FAINT = 1.0, 0.2


def _clip(made: np.ndarray | None, source: np.ndarray | None, speech: np.ndarray, **more: str) -> DubbedClip:
    frames = np.zeros((2, 8, 8, 3), np.uint8)
    sounded = make_footage(frames, sound=source), make_footage(frames, sound=made)
    return make_dubbed_clip(*sounded, speech=speech, **more)


def test_only_generated_speech_is_judged() -> None:
    source, given_speech, new = (_murmur(2.0, seed) for seed in range(3))
    measure = GeneratedSpeech()
    visual = [(source, source, given_speech), (given_speech, source, given_speech)]
    silent = [(None, source, given_speech), (new, None, given_speech)]
    for case in visual + silent:
        assert not is_generated(_clip(*case))
        assert measure(_clip(*case)) == {}
    muxed = 0.5 * np.roll(given_speech, 1024) + 0.005 * _noise(3, 9)  # through an encoder with its delay
    assert measure(_clip(muxed, source, given_speech)) == {}
    assert measure(_clip(new, source, given_speech)).keys() == {"dur_err", "int_corr"}


def test_values_of_a_whole_clip() -> None:
    source = _spoken(0.5, 1.0, seed=0)
    measure = GeneratedSpeech(_Pitch(), _Parrot())
    made = FAINT * _spoken(0.5, 1.5, seed=2)
    values = measure(_clip(made, source, LOUD * _spoken(0.5, 1.0, seed=1)))
    assert values.keys() == {metric.key for metric in measure.metrics}
    assert values["dur_err"] == pytest.approx(0.5, abs=0.07)
    assert values["v_sim"] > 0.99
    assert values["wer"] == pytest.approx(100 / 3)  # "day" for "evening"
    low = np.cumsum(made - made.mean()).astype(np.float32)  # same length, another voice
    assert measure(_clip(low, source, LOUD * _spoken(0.5, 1.0, seed=1)))["v_sim"] < 0.6


def test_the_words_come_from_the_manifest_where_it_tells_them() -> None:
    source, made = _spoken(0.5, 1.0, seed=0), FAINT * _spoken(0.5, 1.0, seed=2)
    measure = GeneratedSpeech(transcriber=_Parrot())
    assert measure(_clip(made, source, source, text="Good day, everybody!"))["wer"] == 0
    # Speech from the source's own recording may be a translation of it: no words to compare with.
    assert "wer" not in measure(_clip(made, source, source))


def test_too_little_speech_has_no_voice() -> None:
    made, source = _spoken(1.0, 0.2, seed=2), _spoken(0.5, 1.0)
    assert "v_sim" not in GeneratedSpeech(_Pitch())(_clip(made, source, SILENCE))


def test_titles_and_fingerprints_name_the_judges() -> None:
    bare, full = GeneratedSpeech(), GeneratedSpeech(_Pitch(), _Parrot())
    assert [metric.title for metric in full.metrics] == [
        "Dur-Err",
        "Int-Corr",
        "V-SIM (pitch)",
        "WER (parrot)",
    ]
    assert bare.fingerprint != full.fingerprint
    assert all("formula ours" in metric.source for metric in full.metrics)


# ----------------------------------------------------------------------------------- transformers' models


def test_speakers_are_embedded_piece_by_piece(tmp_path: Path) -> None:
    encoder = XVectorEncoder(toy_speaker(tmp_path))
    sound = _noise(16)
    halves = [encoder.embed(part) for part in (sound[: 8 * RATE], sound[8 * RATE :])]
    np.testing.assert_allclose(encoder.embed(sound), np.mean(halves, axis=0), atol=1e-5)
    assert np.linalg.norm(halves[0]) == pytest.approx(1, abs=1e-5)
    assert encoder.embed(sound[: RATE // 2]).shape == (12,)
    assert encoder.name == "wavlm-sv"


def test_whisper_says_what_its_model_says(tmp_path: Path) -> None:
    transcriber = WhisperTranscriber(toy_whisper(tmp_path, only="a"))
    text = transcriber.transcribe(_noise(1))
    assert text and set(text) == {"a"}


def test_the_measure_is_built_from_folders(tmp_path: Path) -> None:
    speaker, whisper = toy_speaker(tmp_path / "speaker"), toy_whisper(tmp_path / "whisper", "b")
    weights = PerceptionWeights(speaker_encoder=speaker, transcriber=whisper, face_root=tmp_path)
    (measure,), _, facts = load_measures(weights)
    assert (facts["V-SIM"], facts["WER"]) == ("wavlm-sv", "whisper")
    source, made = _spoken(0.5, 1.0, seed=0), _spoken(0.5, 1.0, seed=2)
    values = measure(_clip(made, source, source, text="one two"))
    assert values["wer"] == 100 and -1 <= values["v_sim"] <= 1


def test_models_that_cannot_judge_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none: holds no speaker encoder \(no config\.json\)"):
        XVectorEncoder(tmp_path / "none")
    folder = toy_speaker(tmp_path / "speaker")
    with pytest.raises(UserError, match=r"speaker.*Whisper"):
        WhisperTranscriber(folder)
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(UserError, match=r"speaker: lacks a part that speaker encoder needs"):
        XVectorEncoder(folder)
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match=r"speaker: cannot be loaded as a speaker encoder"):
        XVectorEncoder(folder)
