# ruff: noqa: RUF001 - IPA letters look like others
"""From phonemes to the shape of the mouth over time."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FRAME_RATE = 25.0
_STEP = 0.005  # seconds; the shape is worked out on this grid and then sampled at the frames
_CLOSURE_HOLD = 0.022  # half width: with frames 40 ms apart one always falls into a hold of 44 ms
_CLOSURE_RAMP = 0.045


@dataclass(frozen=True)
class Phoneme:
    """One IPA symbol with its start and end in seconds; the empty symbol is silence."""

    symbol: str
    start: float
    end: float


@dataclass(frozen=True)
class MouthShape:
    """Articulation of one frame; every field lies in 0..1 and all zeros is a relaxed, closed mouth.

    open: how far the lips are parted. spread: corners drawn apart (as in "ee"). round: corners drawn together
    and lips pushed forward ("oo"). press: lips rolled in and pressed ("m"). tuck: lower lip against the upper
    teeth ("f"). tongue: tip raised to the teeth ("l", "th").
    """

    open: float = 0.0
    spread: float = 0.0
    round: float = 0.0
    press: float = 0.0
    tuck: float = 0.0
    tongue: float = 0.0


CLOSED = MouthShape()
_CHANNELS = ("open", "spread", "round", "press", "tuck", "tongue")

# symbol -> (open, spread, round, tongue); None = the sound leaves this to its neighbours.
_Target = tuple[float, float | None, float | None, float | None]
_VOWELS: dict[str, _Target] = {
    "a": (0.95, 0.30, 0.0, 0.0),
    "ɑ": (1.00, 0.10, 0.0, 0.0),
    "æ": (0.88, 0.50, 0.0, 0.0),
    "ɐ": (0.70, 0.20, 0.0, 0.0),
    "ʌ": (0.68, 0.15, 0.0, 0.0),
    "ɒ": (0.80, 0.00, 0.40, 0.0),
    "ɔ": (0.70, 0.00, 0.60, 0.0),
    "o": (0.52, 0.00, 0.80, 0.0),
    "ɤ": (0.45, 0.20, 0.0, 0.0),
    "e": (0.48, 0.65, 0.0, 0.2),
    "ɛ": (0.62, 0.50, 0.0, 0.1),
    "ə": (0.42, 0.15, 0.0, 0.1),
    "ɜ": (0.50, 0.10, 0.15, 0.1),
    "ɚ": (0.40, 0.00, 0.30, 0.3),
    "ɝ": (0.45, 0.00, 0.30, 0.3),
    "i": (0.26, 0.95, 0.0, 0.4),
    "ɪ": (0.36, 0.60, 0.0, 0.3),
    "ɨ": (0.30, 0.40, 0.0, 0.3),
    "u": (0.24, 0.00, 1.0, 0.0),
    "ʊ": (0.34, 0.00, 0.75, 0.0),
    "ʉ": (0.26, 0.00, 0.90, 0.2),
    "ɯ": (0.28, 0.30, 0.0, 0.0),
    "y": (0.24, 0.00, 0.90, 0.3),
    "ʏ": (0.30, 0.00, 0.70, 0.3),
    "ø": (0.42, 0.00, 0.75, 0.2),
    "œ": (0.55, 0.00, 0.60, 0.1),
    "ɵ": (0.36, 0.00, 0.60, 0.1),
    "ᵻ": (0.34, 0.45, 0.0, 0.3),
}
_CONSONANTS: dict[str, _Target] = {
    "p": (0.0, None, None, None),
    "b": (0.0, None, None, None),
    "m": (0.0, None, None, None),
    "β": (0.08, None, 0.2, None),
    "ɸ": (0.08, None, 0.2, None),
    "f": (0.12, None, None, None),
    "v": (0.12, None, None, None),
    "ʋ": (0.14, None, None, None),
    "w": (0.16, 0.0, 1.0, None),
    "ɥ": (0.16, 0.0, 0.9, None),
    "θ": (0.24, 0.2, None, 1.0),
    "ð": (0.24, 0.2, None, 1.0),
    "t": (0.20, None, None, 0.7),
    "d": (0.22, None, None, 0.7),
    "n": (0.24, None, None, 0.7),
    "ɾ": (0.26, None, None, 0.7),
    "s": (0.14, 0.45, None, 0.3),
    "z": (0.14, 0.45, None, 0.3),
    "ʃ": (0.20, 0.0, 0.55, 0.3),
    "ʒ": (0.20, 0.0, 0.55, 0.3),
    "ɕ": (0.18, 0.3, None, 0.3),
    "ʑ": (0.18, 0.3, None, 0.3),
    "ʂ": (0.20, 0.0, 0.4, 0.3),
    "ʐ": (0.20, 0.0, 0.4, 0.3),
    "l": (0.34, None, None, 1.0),
    "ɫ": (0.34, None, None, 0.9),
    "ɬ": (0.24, None, None, 0.9),
    "ʎ": (0.28, 0.5, None, 0.7),
    "ɲ": (0.26, 0.4, None, 0.6),
    "ɹ": (0.26, 0.0, 0.40, 0.4),
    "ɻ": (0.26, 0.0, 0.40, 0.4),
    "r": (0.30, None, None, 0.7),
    "ʀ": (0.36, None, None, 0.0),
    "ʁ": (0.36, None, None, 0.0),
    "j": (0.26, 0.7, None, 0.4),
    "c": (0.28, 0.4, None, 0.2),
    "ɟ": (0.28, 0.4, None, 0.2),
    "k": (0.32, None, None, 0.0),
    "ɡ": (0.32, None, None, 0.0),
    "g": (0.32, None, None, 0.0),
    "ŋ": (0.32, None, None, 0.0),
    "x": (0.36, None, None, 0.0),
    "ɣ": (0.36, None, None, 0.0),
    "ç": (0.26, 0.5, None, 0.3),
    "χ": (0.38, None, None, 0.0),
    "q": (0.38, None, None, 0.0),
    "h": (0.40, None, None, 0.0),
    "ɦ": (0.40, None, None, 0.0),
}
_TARGETS = {**_VOWELS, **_CONSONANTS}
BILABIALS = frozenset("pbm")
LABIODENTALS = frozenset("fvʋ")


def split_symbols(label: str) -> list[str]:
    """The known base symbols of an IPA label: stress, length and other marks dropped, diphthongs split."""
    plain = unicodedata.normalize("NFD", label)
    return [symbol for symbol in unicodedata.normalize("NFC", plain) if symbol in _TARGETS]


def _smooth(values: np.ndarray, sigma: float) -> np.ndarray:
    """Convolve (n,) with a Gaussian of `sigma` seconds; the ends are extended."""
    radius = max(1, round(3 * sigma / _STEP))
    offsets = np.arange(-radius, radius + 1) * _STEP
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    return np.convolve(np.pad(values, radius, mode="edge"), kernel / kernel.sum(), mode="valid")


def _hold(times: np.ndarray, phoneme: Phoneme) -> np.ndarray:
    """Envelope 0..1 over `times`: 1 while the lips must touch for this sound, with smooth flanks."""
    middle = 0.5 * (phoneme.start + phoneme.end)
    half = max(_CLOSURE_HOLD, 0.5 * (phoneme.end - phoneme.start) - _CLOSURE_RAMP)
    x = np.clip((np.abs(times - middle) - half) / _CLOSURE_RAMP, 0.0, 1.0)
    return 0.5 + 0.5 * np.cos(np.pi * x)


def mouth_curve(phonemes: Sequence[Phoneme], frame_count: int) -> list[MouthShape]:
    """Shape of the mouth at the middle of each of `frame_count` frames (25 per second).

    Every sound pulls towards its own target; a weighted running mean makes neighbours blend (sounds without a
    target of their own for a channel do not pull there), and contact of lips or of lip and teeth is enforced
    afterwards, so that a blend can never leave them ajar.
    """
    count = max(1, int(np.ceil(frame_count / FRAME_RATE / _STEP)) + 1)
    grid = np.arange(count) * _STEP
    targets = {name: np.zeros(count) for name in ("open", "spread", "round", "tongue")}
    weights = {name: np.ones(count) for name in targets}
    press, tuck = np.zeros(count), np.zeros(count)
    for phoneme in phonemes:
        if phoneme.symbol not in _TARGETS:
            continue
        inside = (grid >= phoneme.start) & (grid < phoneme.end)
        pull = 1.0 if phoneme.symbol in _VOWELS else 0.8
        for name, value in zip(targets, _TARGETS[phoneme.symbol], strict=True):
            targets[name][inside] = 0.0 if value is None else value
            weights[name][inside] = 0.02 if value is None else pull
        if phoneme.symbol in BILABIALS:
            press = np.maximum(press, _hold(grid, phoneme))
        elif phoneme.symbol in LABIODENTALS:
            tuck = np.maximum(tuck, _hold(grid, phoneme))
    curves: dict[str, np.ndarray] = {}
    for name, sigma in (("open", 0.026), ("spread", 0.050), ("round", 0.050), ("tongue", 0.030)):
        curves[name] = _smooth(targets[name] * weights[name], sigma) / _smooth(weights[name], sigma)
    curves["open"] = np.minimum(curves["open"] * (1.0 - press), 1.0 - 0.84 * tuck)
    # A trace of opening left by the flank of the running mean is a closed mouth to the eye.
    curves["open"] = np.clip((curves["open"] - 0.02) / 0.98, 0.0, 1.0)
    curves["press"] = press
    curves["tuck"] = tuck * (1.0 - press)
    moments = np.minimum((np.arange(frame_count) + 0.5) / FRAME_RATE, grid[-1])
    sampled = {name: np.interp(moments, grid, np.clip(curves[name], 0.0, 1.0)) for name in _CHANNELS}
    return [MouthShape(*(float(sampled[name][i]) for name in _CHANNELS)) for i in range(frame_count)]
