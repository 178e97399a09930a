"""Synthetic speakers: audio, phonemes and mouth shapes that belong together exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.signal import resample_poly

from common.errors import UserError
from common.media import SAMPLE_RATE
from common.rendered.espeak import Synthesizer, Voice
from common.rendered.text import sentence
from common.rendered.visemes import (
    CLOSED,
    FRAME_RATE,
    MouthShape,
    Phoneme,
    mouth_curve,
    split_symbols,
)

LANGUAGES = ("en-us", "en", "de", "fr", "es", "it", "pt-br", "nl", "pl", "sv", "tr", "fi")
_ENGLISH_SHARE = 0.6
_VARIANTS = (
    *(
        "m1",
        "m2",
        "m3",
        "m4",
        "m5",
        "m6",
        "m7",
        "m8",
        "f1",
        "f2",
        "f3",
        "f4",
        "f5",
        "Alex",
        "Alicia",
        "Andrea",
    ),
    *(
        "Andy",
        "Annie",
        "Denis",
        "Diogo",
        "Gene",
        "Henrique",
        "Hugo",
        "Jacky",
        "Marco",
        "Mario",
        "Michael",
        "Mike",
    ),
    *("adam", "anika", "antonio", "aunty", "belinda", "benjamin", "boris", "caleb", "david", "ed", "edward"),
    *(
        "gustave",
        "ian",
        "iven",
        "john",
        "linda",
        "marcelo",
        "max",
        "michel",
        "miguel",
        "pablo",
        "paul",
        "pedro",
    ),
    *("quincy", "rob", "robert", "sandro", "shelby", "steph", "travis", "victor", "zac"),
)
_SPEECH_RMS = 0.09


@dataclass(frozen=True)
class Speech:
    """Speech of one voice.

    audio (n,) float32 in [-1, 1] at `sample_rate` Hz, `phonemes` in order of time with the pauses left out,
    `mouth`: one shape for each 1/25 s; `text` as given to the synthesiser.
    """

    audio: np.ndarray
    sample_rate: int
    phonemes: tuple[Phoneme, ...]
    mouth: list[MouthShape]
    text: str
    voice: Voice | None


def sample_voice(seed: int, languages: Sequence[str] | None = None) -> Voice:
    """The voice of speaker `seed`; `languages` (espeak codes) limits the choice (default: mostly English)."""
    rng = np.random.default_rng([seed, 0x701CE])
    if languages:
        language = str(rng.choice(list(languages)))
    elif rng.random() < _ENGLISH_SHARE:
        language = str(rng.choice(["en-us", "en"]))
    else:
        language = str(rng.choice(LANGUAGES))
    return Voice(
        language=language,
        variant=str(rng.choice(_VARIANTS)),
        pitch=int(rng.integers(25, 76)),
        pitch_range=int(rng.integers(30, 75)),
        rate=int(rng.integers(130, 186)),
    )


def _phonemes(marks: list[tuple[str, float]], duration: float, shift: float) -> list[Phoneme]:
    """Split labels into base symbols that share the label's time; a label ends where the next one starts."""
    found: list[Phoneme] = []
    labels = [mark for mark in marks if not mark[0].startswith("(")]  # "(en)": a change of language, no sound
    for (label, start), end in zip(labels, [time for _, time in labels[1:]] + [duration], strict=True):
        symbols = split_symbols(label)
        edges = np.linspace(start, end, len(symbols) + 1) + shift
        found += [Phoneme(s, float(edges[i]), float(edges[i + 1])) for i, s in enumerate(symbols)]
    return [phoneme for phoneme in found if phoneme.end > phoneme.start]


def speak(seed: int, seconds: float, voice: Voice | None = None) -> Speech:
    """Speech of exactly round(25 * seconds) video frames, a function of its arguments alone.

    Sentences follow one another with pauses until the time is full; the last one is cut.
    Raises: UserError if `seconds` is not positive or the voice does not exist.
    """
    if not seconds > 0:
        raise UserError(f"speech of {seconds} seconds was asked for: give a positive length")
    voice = voice or sample_voice(seed)
    rng = np.random.default_rng([seed, 0x5BEEC4])
    frame_count = max(1, round(seconds * FRAME_RATE))
    total = round(frame_count / FRAME_RATE * SAMPLE_RATE)
    audio = np.zeros(total, dtype=np.float32)
    phonemes: list[Phoneme] = []
    texts: list[str] = []
    position = round(float(rng.uniform(0.05, 0.35)) * SAMPLE_RATE)
    with Synthesizer() as synthesizer:
        rate = synthesizer.sample_rate
        divisor = np.gcd(rate, SAMPLE_RATE)
        while position < total:
            text = sentence(rng, voice.language)
            samples, marks = synthesizer(text, voice)
            piece = resample_poly(samples, SAMPLE_RATE // divisor, rate // divisor).astype(np.float32)
            phonemes += _phonemes(marks, len(samples) / rate, position / SAMPLE_RATE)
            texts.append(text)
            kept = piece[: total - position]
            audio[position : position + len(kept)] = kept
            position += len(piece) + round(float(rng.uniform(0.1, 0.5)) * SAMPLE_RATE)
    loud = audio[np.abs(audio) > 1e-4]
    level = float(np.sqrt(np.mean(np.square(loud)))) if loud.size else 1.0
    audio = np.clip(audio * (_SPEECH_RMS * float(rng.uniform(0.7, 1.3)) / max(level, 1e-6)), -1.0, 1.0)
    end = total / SAMPLE_RATE
    inside = tuple(phoneme for phoneme in phonemes if phoneme.start < end)
    return Speech(audio, SAMPLE_RATE, inside, mouth_curve(inside, frame_count), " ".join(texts), voice)


def silence(seconds: float) -> Speech:
    """No sound and a closed mouth for round(25 * seconds) frames."""
    frame_count = max(1, round(seconds * FRAME_RATE))
    audio = np.zeros(round(frame_count / FRAME_RATE * SAMPLE_RATE), dtype=np.float32)
    return Speech(audio, SAMPLE_RATE, (), [CLOSED] * frame_count, "", None)
