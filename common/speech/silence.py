"""Silence after a recording, where pictures go on longer than the speech."""

from __future__ import annotations

from enum import Enum

import numpy as np

from common.speech.base import HOP, Audio, Features, SpeechEncoder, feature_count


class SilenceRule(str, Enum):
    """How an encoder is told of it."""

    together = "together"
    """It is appended to the sound: features depend on the sound about them alone, so that only the end of the
    speech hears it."""
    apart = "apart"
    """It is encoded by itself and its features follow: the encoder hears the whole recording at once, and
    appended silence would change the features of the speech by up to 30 %."""
    own = "own"
    """The encoder appends its own, as its weights' publisher does."""


RULES = {
    "mel": SilenceRule.together,
    "lips": SilenceRule.together,
    "whisper+wav2vec2": SilenceRule.apart,
    "hubert": SilenceRule.own,
}


def encode_until(encoder: SpeechEncoder, audio: Audio, samples: int) -> Features:
    """Features of a recording that is followed by silence.

    Args:
        encoder: one of :data:`RULES`.
        audio: (samples,) in [-1, 1] at 16 kHz.
        samples: with the silence; a recording that is longer is encoded as it is.

    Returns:
        (ceil(samples / 320) or more, channels). With rule "own" possibly fewer: its last one goes on then.

    Raises:
        UserError: there is no sound.
    """
    missing, rule = samples - len(audio), RULES[encoder.name]
    if missing <= 0 or rule is SilenceRule.own:
        return encoder.encode(audio)
    if rule is SilenceRule.together:
        return encoder.encode(np.pad(audio, (0, missing)))
    speech = encoder.encode(audio)
    count = feature_count(samples) - len(speech)
    if count <= 0:
        return speech
    return np.concatenate([speech, encoder.encode(np.zeros(HOP * count, np.float32))])
