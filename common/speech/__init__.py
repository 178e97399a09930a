"""Speech features at 50 Hz, their windows per latent frame, and a cache keyed by content."""

from common.speech.base import SpeechEncoder, feature_count
from common.speech.build import build_speech_encoder
from common.speech.cache import CachedEncoder
from common.speech.windows import audio_windows, clip_features, feature_margin, window_indices

__all__ = [
    "CachedEncoder",
    "SpeechEncoder",
    "audio_windows",
    "build_speech_encoder",
    "clip_features",
    "feature_count",
    "feature_margin",
    "window_indices",
]
