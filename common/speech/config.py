"""Speech: which features drive the lips, and what is changed about them at random while training."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from common.checks import at_least, one_of
from common.random_change import ChangeConfig, check_change
from common.speech.registry import ENCODERS


@dataclass
class SpeechConfig:
    """Which speech features drive the lips."""

    encoder: str = "whisper+wav2vec2"  # a name of common/speech/registry.py
    path: str = ""
    """Folder with whisper/ and wav2vec2/, or with hubert/; of the lip-shape predictor; of the speech units.
    Unused by mel."""
    extra_window: int = 0  # feature frames (50 Hz) added on each side of the eight (P: 4 in stage 1; R: 0)
    channels: int = 2048
    chunking: str = "overlap"  # of whisper+wav2vec2 beyond 30 s, of hubert beyond 60; "release": as there (R)

    def __post_init__(self) -> None:
        one_of("speech.chunking", self.chunking, ("overlap", "release"))
        one_of("speech.encoder", self.encoder, tuple(ENCODERS))
        at_least("speech.extra_window", self.extra_window, 0)


@dataclass
class SpeechAugmentConfig:
    """Random changes of cached log-mel features while training; nothing is changed by default."""

    pitch: ChangeConfig = field(default_factory=lambda: ChangeConfig(range=[0.0, 0.12]))
    """The spectrum stretched or squeezed by this share."""
    reverberation: ChangeConfig = field(default_factory=lambda: ChangeConfig(range=[0.1, 0.8]))
    """Seconds in which the room's tail falls by 60 dB."""
    noise: ChangeConfig = field(default_factory=lambda: ChangeConfig(range=[5.0, 30.0]))
    """Signal to noise, dB."""
    colour: ChangeConfig = field(default_factory=lambda: ChangeConfig(range=[1.0, 6.0]))
    """Deviation of the microphone's frequency response, dB."""
    bandwidth: ChangeConfig = field(default_factory=lambda: ChangeConfig(range=[0.6, 0.95]))
    """Share of the mel bands that a codec lets through."""
    gain: ChangeConfig = field(default_factory=lambda: ChangeConfig(range=[0.0, 8.0]))
    """dB, up or down."""

    def __post_init__(self) -> None:
        for name, change in self.changes().items():
            check_change(f"speech_augment.{name}", change)

    def changes(self) -> dict[str, ChangeConfig]:
        """All changes by name."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    @property
    def active(self) -> bool:
        """Whether anything is ever changed."""
        return any(change.probability for change in self.changes().values())
