"""What a source says itself: the speech under which it is inverted."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from common.media import SAMPLE_RATE, load_audio
from common.speech.base import SpeechEncoder
from common.speech.silence import encode_until


def own_features(video: Path, encoder: SpeechEncoder, seconds: float) -> np.ndarray:
    """(T, C) features of a video's own sound, for pictures that last ``seconds``.

    Raises:
        UserError: it has no sound.
    """
    audio = load_audio(video, SAMPLE_RATE)
    return encode_until(encoder, audio, int(np.ceil(seconds * SAMPLE_RATE)))
