"""Singing: syllables of the synthesiser on the notes of a melody, their vowels held.

espeak-ng cannot sing. Here each syllable is spoken at a flat pitch (range 0) chosen by a note, and the middle
of its vowel is repeated in whole periods until the note is full. So there are notes, sustained vowels and
consonants between them, and the mouth's truth follows the stretched phonemes; there is no vibrato, no legato
and no singer's formant.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.signal import resample_poly

from common.media import SAMPLE_RATE
from common.rendered.espeak import Synthesizer, Voice
from common.rendered.speech import Speech
from common.rendered.visemes import FRAME_RATE, Phoneme, mouth_curve, split_symbols

_SYLLABLES = (
    "la",
    "moon",
    "me",
    "you",
    "far",
    "blue",
    "bee",
    "low",
    "more",
    "play",
    "two",
    "warm",
    "see",
    "go",
)
_NOTES = (15, 28, 40, 50, 62, 76)  # espeak's pitch 0..100
_BEATS = (0.48, 0.48, 0.72, 0.96)  # seconds
_REST = 0.08
_VOWELS = frozenset("aɑæɐʌɒɔoɤeɛəɜɚɝiɪɨuʊʉɯyʏøœɵᵻ")  # noqa: RUF001 - IPA
_RMS = 0.09
_FADE = 0.005


def _period(samples: np.ndarray) -> int:
    """Samples per pitch period of a voiced stretch, 70 to 450 Hz."""
    low, high = SAMPLE_RATE // 450, min(SAMPLE_RATE // 70, len(samples) // 2)
    lags = np.arange(low, high)
    head = samples[: len(samples) - high]
    scores = [float(head @ samples[lag : lag + len(head)]) for lag in lags]
    return int(lags[int(np.argmax(scores))])


def sustain(samples: np.ndarray, start: int, stop: int, extra: int) -> np.ndarray:
    """Lengthen `samples` by at least `extra`: the middle of the vowel in [start, stop) is repeated.

    Whole periods are inserted with cross-fades, so the pitch stays. Returns samples unchanged where the vowel
    is too short to hold (under 60 ms).
    """
    if extra <= 0 or stop - start < round(0.06 * SAMPLE_RATE):
        return samples
    middle = (start + stop) // 2
    reach = max((stop - start) // 3, round(0.028 * SAMPLE_RATE))
    vowel = samples[max(0, middle - reach) : middle + reach]
    period = _period(vowel)
    loop = max(1, (len(vowel) // 2) // period) * period
    fade = min(period, loop)
    ramp = np.linspace(0.0, 1.0, fade, dtype=np.float32)
    # One turn of the loop ends where it begins: its tail is faded into what comes before its head.
    at = middle - loop // 2
    turn = samples[at : at + loop].copy()
    turn[-fade:] = turn[-fade:] * (1 - ramp) + samples[at - fade : at] * ramp
    count = -(-extra // loop)
    return np.concatenate([samples[:at], np.tile(turn, count), samples[at:]]).astype(np.float32)


def sing(seed: int, seconds: float, voice: Voice) -> Speech:
    """A song of exactly round(25 * seconds) frames in the given voice, a function of its arguments alone."""
    rng = np.random.default_rng([seed, 0x51461])
    frames = max(1, round(seconds * FRAME_RATE))
    total = round(frames / FRAME_RATE * SAMPLE_RATE)
    audio = np.zeros(total, np.float32)
    phonemes: list[Phoneme] = []
    words: list[str] = []
    position, note = round(0.1 * SAMPLE_RATE), int(rng.integers(len(_NOTES)))
    english = replace(voice, language="en-us", rate=110, pitch_range=0)
    with Synthesizer() as synthesizer:
        divisor = np.gcd(synthesizer.sample_rate, SAMPLE_RATE)
        up, down = SAMPLE_RATE // divisor, synthesizer.sample_rate // divisor
        while position < total:
            note = int(np.clip(note + rng.integers(-2, 3), 0, len(_NOTES) - 1))
            word, beat = str(rng.choice(_SYLLABLES)), float(rng.choice(_BEATS))
            raw, marks = synthesizer(word, replace(english, pitch=_NOTES[note]))
            spoken = resample_poly(raw, up, down).astype(np.float32)
            piece, sounds = _note(spoken, marks, beat)
            begin = position / SAMPLE_RATE
            phonemes += [replace(p, start=p.start + begin, end=p.end + begin) for p in sounds]
            words.append(word)
            kept = piece[: total - position]
            audio[position : position + len(kept)] = kept
            position += len(piece) + round(_REST * SAMPLE_RATE)
    level = float(np.sqrt(np.mean(np.square(audio[np.abs(audio) > 1e-4]))))
    audio = np.clip(audio * (_RMS / max(level, 1e-6)), -1.0, 1.0).astype(np.float32)
    inside = tuple(p for p in phonemes if p.start < total / SAMPLE_RATE)
    return Speech(audio, SAMPLE_RATE, inside, mouth_curve(inside, frames), " ".join(words), english)


def _note(
    samples: np.ndarray, marks: list[tuple[str, float]], seconds: float
) -> tuple[np.ndarray, list[Phoneme]]:
    """A syllable held for at least `seconds`, and its phonemes from 0 on."""
    loud = np.flatnonzero(np.abs(samples) > 1e-3)
    last = int(loud[-1]) + 1 if len(loud) else len(samples)
    samples = samples[:last].copy()
    tail = min(round(_FADE * SAMPLE_RATE), last)
    samples[last - tail :] *= np.linspace(1, 0, tail, dtype=np.float32)
    end = last / SAMPLE_RATE
    spans = [(label, start, min(stop, end)) for (label, start), stop in
             zip(marks, [time for _, time in marks[1:]] + [end], strict=True) if start < end]  # fmt: skip
    held = [i for i, (label, _, _) in enumerate(spans) if _VOWELS & set(split_symbols(label))]
    if not held:
        return samples, []
    vowel = max(held, key=lambda i: spans[i][2] - spans[i][1])
    _, start, stop = spans[vowel]
    first, final = round(start * SAMPLE_RATE), round(stop * SAMPLE_RATE)
    sung = sustain(samples, first, final, round(seconds * SAMPLE_RATE) - last)
    grown = (len(sung) - last) / SAMPLE_RATE
    found: list[Phoneme] = []
    for i, (label, begin, close) in enumerate(spans):
        begin, close = begin + grown * (i > vowel), close + grown * (i >= vowel)
        symbols = split_symbols(label)
        edges = np.linspace(begin, close, len(symbols) + 1)
        if i == vowel and len(symbols) > 1:  # a singer holds the first part of a diphthong
            edges[1:-1] = close - (close - begin - grown) * 0.5 * np.linspace(1, 0, len(symbols))[:-1]
        found += [Phoneme(s, float(edges[k]), float(edges[k + 1])) for k, s in enumerate(symbols)]
    return sung, [p for p in found if p.end > p.start]
