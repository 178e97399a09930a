"""The speech of prepared clips as features."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.data.prepared import SAMPLE_RATE, PreparedClip
from common.files import remove_partial
from common.media import load_audio
from common.speech.base import SpeechEncoder
from common.speech.build import build_speech_encoder
from common.speech.cache import CachedEncoder
from common.speech.config import SpeechConfig


class PreparedSpeech:
    """Speech features of whole prepared clips, computed once per sound and kept on disk."""

    def __init__(self, work: str | Path, speech: SpeechConfig) -> None:
        """``work``: the work folder, in which the features are kept. Call under its lock."""
        folder = Path(work) / "cache" / "speech"
        remove_partial(folder)
        encoder = build_speech_encoder(speech)
        self.encoder: SpeechEncoder = CachedEncoder(encoder, folder)
        self._recent = lru_cache(maxsize=64)(self._encode)

    @property
    def fingerprint(self) -> str:
        return self.encoder.fingerprint

    def features(self, entry: PreparedClip) -> NDArray[np.float32]:
        """(T, C) at 50 Hz, feature 0 = begin of the entry's frame 0."""
        return self._recent(entry.folder)

    def silence(self, frames: int, fps: float) -> NDArray[np.float32]:
        """(T, C) features of digital silence over `frames` video frames."""
        return self.encoder.encode(np.zeros(round(frames * SAMPLE_RATE / fps), np.float32))

    def _encode(self, folder: Path) -> NDArray[np.float32]:
        return self.encoder.encode(load_audio(folder / "audio.flac", SAMPLE_RATE))
