"""The speech of a job lies in a file: encoders see the same samples as in an array, sliced or not."""

from __future__ import annotations

from typing import cast

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from common.speech.base import Audio, SilenceRule, check_audio
from common.speech.mel import MelEncoder
from common.speech.silence import encode_until
from stage2_dubber.dub.inputs import PlacedSpeech


def recording(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(-9000, 9000, count).astype(np.int16)


@given(
    count=st.integers(1, 3000),
    last=st.integers(1, 4000),
    until=st.integers(1, 5000),
    rule=st.sampled_from(list(SilenceRule)),
    start=st.integers(0, 5000),
    length=st.integers(0, 5000),
)
@settings(max_examples=60, deadline=None)
def test_parts_are_those_of_the_recording_with_its_silence(
    count: int, last: int, until: int, rule: SilenceRule, start: int, length: int
) -> None:
    said = recording(count)
    speech = PlacedSpeech(said)
    part = speech.part(last, rule, until)
    wanted = said[:last]
    if rule is SilenceRule.together:
        wanted = np.pad(wanted, (0, max(0, until - len(wanted))))
    assert len(part) == part.size == len(wanted) and part.ndim == 1
    np.testing.assert_array_equal(np.asarray(part), wanted)
    np.testing.assert_array_equal(part[start : start + length], wanted[start : start + length])
    np.testing.assert_array_equal(check_audio(part), wanted.astype(np.float32) / 32768)
    np.testing.assert_array_equal(speech.whole(), said)


def test_features_are_the_same() -> None:
    said, encoder = recording(420_000), MelEncoder()
    features = encode_until(encoder, PlacedSpeech(said).part(400_000, encoder.silence, 410_000), 410_000)
    padded = cast(Audio, np.pad(said[:400_000], (0, 10_000)))
    np.testing.assert_array_equal(features, encoder.encode(padded))
