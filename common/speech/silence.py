"""Silence after a recording, where pictures go on longer than the speech."""

from __future__ import annotations

from typing import cast

import numpy as np

from common.speech.base import HOP, Audio, Features, SilenceRule, SpeechEncoder, feature_count


def encode_until(encoder: SpeechEncoder, audio: Audio, samples: int) -> Features:
    """Features of a recording that is followed by silence.

    Args:
        encoder: says by which rule.
        audio: (samples,) at 16 kHz.
        samples: with the silence; a recording that is longer is encoded as it is.

    Returns:
        (ceil(samples / 320) or more, channels). With rule "own" possibly fewer: its last one goes on then.

    Raises:
        UserError: there is no sound.
    """
    missing, rule = samples - len(audio), encoder.silence
    if missing <= 0 or rule is SilenceRule.own:
        return encoder.encode(audio)
    if rule is SilenceRule.together:
        return encoder.encode(cast(Audio, np.pad(audio, (0, missing))))
    speech = encoder.encode(audio)
    count = feature_count(samples) - len(speech)
    if count <= 0:
        return speech
    return np.concatenate([speech, encoder.encode(np.zeros(HOP * count, np.float32))])
