# ruff: noqa: RUF001 - IPA letters look like others
"""Synthesised speech: the same from the same seed, and mouth shapes that fit the sounds."""

import numpy as np
import pytest

from common.errors import UserError
from common.media import SAMPLE_RATE
from common.rendered.espeak import Voice
from common.rendered.speech import sample_voice, silence, speak
from common.rendered.visemes import CLOSED, FRAME_RATE, Phoneme, mouth_curve, split_symbols


@pytest.fixture(scope="module")
def long_speech():
    return speak(11, 12.0, Voice("en-us", "m3"))


def test_speech_is_a_function_of_its_seed():
    first = speak(3, 1.6)
    speak(4, 0.8)
    again = speak(3, 1.6)
    np.testing.assert_array_equal(first.audio, again.audio)
    assert first.phonemes == again.phonemes and first.mouth == again.mouth
    assert speak(4, 1.6).text != first.text


def test_sound_and_mouth_have_exactly_the_length_asked_for():
    speech = speak(5, 1.64)
    assert len(speech.mouth) == 41
    assert speech.audio.shape == (41 * SAMPLE_RATE // 25,) and speech.audio.dtype == np.float32
    assert 0.1 < np.abs(speech.audio).max() <= 1.0


def test_other_seeds_are_other_voices():
    voices = {sample_voice(seed) for seed in range(40)}
    assert len(voices) == 40
    assert {voice.language for voice in voices} > {"en-us"}
    assert {sample_voice(seed, ["de"]).language for seed in range(5)} == {"de"}


def test_lips_close_on_every_bilabial(long_speech):
    times = (np.arange(len(long_speech.mouth)) + 0.5) / FRAME_RATE
    sounds = [p for p in long_speech.phonemes if p.symbol in "pbm" and p.end < times[-1]]
    assert len(sounds) > 3
    for sound in sounds:
        nearest = int(np.abs(times - 0.5 * (sound.start + sound.end)).argmin())
        assert long_speech.mouth[nearest].open == 0.0, sound
        assert long_speech.mouth[nearest].press > 0.9


def test_lip_meets_teeth_on_f_and_v(long_speech):
    times = (np.arange(len(long_speech.mouth)) + 0.5) / FRAME_RATE
    sounds = [p for p in long_speech.phonemes if p.symbol in "fv" and p.end < times[-1]]
    assert sounds
    for sound in sounds:
        nearest = long_speech.mouth[int(np.abs(times - 0.5 * (sound.start + sound.end)).argmin())]
        assert nearest.tuck > 0.5 or nearest.press > 0.5
        assert nearest.open < 0.35


def test_vowels_have_their_shapes():
    def middle(symbol):
        return mouth_curve([Phoneme(symbol, 0.1, 0.5)], 15)[7]

    assert middle("ɑ").open > 0.9
    assert middle("u").round > 0.8 and middle("u").open < 0.4
    assert middle("i").spread > 0.8 and middle("i").open < 0.4
    assert middle("l").tongue > 0.8


def test_silence_is_a_closed_mouth():
    quiet = silence(1.0)
    assert quiet.mouth == [CLOSED] * 25 and not quiet.audio.any()
    assert mouth_curve([], 5) == [CLOSED] * 5
    # Far from any sound the mouth is shut too.
    assert mouth_curve([Phoneme("a", 1.0, 1.2)], 50)[5].open == 0.0
    assert mouth_curve([Phoneme("a", 1.0, 1.2)], 50)[45].open == 0.0


def test_labels_are_split_into_known_sounds():
    assert split_symbols("ˈaɪ") == ["a", "ɪ"]
    assert split_symbols("tʃ") == ["t", "ʃ"]
    assert split_symbols("ɑː") == ["ɑ"]
    assert split_symbols("") == []


def test_bad_requests_are_refused():
    with pytest.raises(UserError, match="no voice"):
        speak(0, 1.0, Voice("no-such-language", "m1"))
    with pytest.raises(UserError, match="positive"):
        speak(0, 0.0)
    speak(0, 0.4)  # the synthesiser still works after a refusal
