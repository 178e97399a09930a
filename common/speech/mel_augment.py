"""Other recordings of the same words, made from log-mel features that are already cached.

A model trained on one studio's recordings also relates lips to that studio's sound. Level, colour, noise,
room, codec and the pitch of the voice are changed here, none of which moves the mouth (gap G: the papers
train on hundreds of hours instead).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from common.errors import UserError
from common.speech.config import SpeechAugmentConfig, SpeechConfig
from common.speech.mel import CENTRE_DB, FLOOR_DB, SCALE_DB, MelEncoder

FEATURE_SECONDS = 0.02
_FLOOR = (FLOOR_DB - CENTRE_DB) / SCALE_DB


def mel_changes(config: SpeechAugmentConfig, speech: SpeechConfig) -> SpeechAugmentConfig | None:
    """What a training changes; None where nothing is.

    Raises:
        UserError: the features are no mel bands.
    """
    if not config.active:
        return None
    if speech.encoder != MelEncoder.name:
        raise UserError(
            f"speech_augment changes mel bands, but speech.encoder is {speech.encoder}: leave its "
            "probabilities at 0."
        )
    return config


Change = Callable[[Tensor, float, torch.Generator], Tensor]
"""((T, bands) in dB, strength, generator) -> (T, bands) in dB."""


def augment_mel(features: Tensor, generator: torch.Generator, config: SpeechAugmentConfig) -> Tensor:
    """Change one clip's features as ``config`` says; a pure function of its arguments.

    Args:
        features: (T, bands) of :class:`common.speech.mel.MelEncoder`.

    Returns:
        (T, bands), on the same scale, not below its floor.
    """
    decibels = features.float() * SCALE_DB + CENTRE_DB
    for name, change in _CHANGES.items():
        wanted = config.changes()[name]
        # Always three draws: to set one probability moves no other change.
        chosen, share = torch.rand(2, generator=generator).tolist()
        own = torch.Generator().manual_seed(int(torch.randint(1 << 62, (1,), generator=generator)))
        if chosen < wanted.probability:
            low, high = wanted.range
            decibels = change(decibels, low + share * (high - low), own)
    return ((decibels - CENTRE_DB) / SCALE_DB).clamp_min(_FLOOR).to(features.dtype)


def _pitch(decibels: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """The spectrum stretched: a longer or a shorter throat. ``strength``: share, up or down."""
    bands = decibels.shape[1]
    factor = 1 + strength * _sign(generator)
    at = (torch.arange(bands) * factor).clamp(max=bands - 1)
    below = at.floor().long()
    above = (below + 1).clamp(max=bands - 1)
    return torch.lerp(decibels[:, below], decibels[:, above], at - below)


def _gain(decibels: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    return decibels + strength * _sign(generator)


def _colour(decibels: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """A smooth frequency response of so many dB deviation: microphones."""
    bands = decibels.shape[1]
    waves = torch.arange(1, 5)[:, None] * torch.arange(bands) * math.pi / bands
    phases = torch.rand(4, 1, generator=generator) * 2 * math.pi
    curve = (torch.cos(waves + phases) / torch.arange(1, 5)[:, None]).sum(dim=0)
    return decibels + strength * curve / curve.std()


def _reverberation(decibels: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """A tail that falls by 60 dB in ``strength`` seconds, 3 to 12 dB below the direct sound in total."""
    decay = 10 ** (-6 * FEATURE_SECONDS / strength)
    length = min(len(decibels), max(2, math.ceil(strength / FEATURE_SECONDS)))
    tail = decay ** torch.arange(length)
    tail[0] = 0.0
    level = 10 ** (-(3 + 9 * float(torch.rand(1, generator=generator))) / 10)
    tail = tail * (level / tail.sum())
    power = (10 ** (decibels.double() / 10)).T[:, None]  # 60 dB and more apart: beyond float32
    wet = torch.nn.functional.conv1d(
        torch.nn.functional.pad(power, (length - 1, 0)), tail.flip(0)[None, None].to(power)
    )
    return (10 * torch.log10((power + wet)[:, 0].T.clamp_min(1e-12))).float()


def _noise(decibels: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Coloured noise, ``strength`` dB below the speech."""
    frames, bands = decibels.shape
    speech = 10 * torch.log10((10 ** (decibels / 10)).mean().clamp_min(1e-12))
    slope = (float(torch.rand(1, generator=generator)) * 2 - 1) * 12
    spectrum = slope * (torch.arange(bands) / bands - 0.5)
    # The power of noise in one band and 20 ms is exponentially distributed.
    grain = 10 * torch.log10(-torch.rand(frames, bands, generator=generator).clamp_min(1e-6).log())
    return _sum_of_powers(decibels, speech - strength + spectrum + grain)


def _bandwidth(decibels: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Nothing above this share of the bands: telephones and codecs."""
    limited = decibels.clone()
    limited[:, round(strength * decibels.shape[1]) :] = FLOOR_DB
    return limited


def _sum_of_powers(a: Tensor, b: Tensor) -> Tensor:
    scale = math.log(10) / 10
    return torch.logaddexp(a * scale, b * scale) / scale


def _sign(generator: torch.Generator) -> float:
    return 1.0 if float(torch.rand(1, generator=generator)) < 0.5 else -1.0


# In the order of the world: the voice, the room, its noise, the microphone, the line, the level.
_CHANGES: dict[str, Change] = {
    "pitch": _pitch,
    "reverberation": _reverberation,
    "noise": _noise,
    "colour": _colour,
    "bandwidth": _bandwidth,
    "gain": _gain,
}
