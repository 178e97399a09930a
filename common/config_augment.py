"""The ``augment`` section: what is changed at random on pairs of videos, and how strongly."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from common.errors import UserError


@dataclass
class ChangeConfig:
    """One change: how often a clip gets it, and the range from which its strength is drawn evenly."""

    probability: float = 0.0
    range: list[float] = field(default_factory=lambda: [0.0, 0.0])


@dataclass
class AugmentConfig:
    """Random changes of a pair; nothing is changed by default.

    Those named ``source_*`` are made to the condition alone, all others alike to both members of the pair.
    They reach pairs whose latents are not cached, and the copies that ``pack`` makes
    (``pairs.augmented_copies``).
    """

    flip: float = 0.0
    """Probability: left and right change places, in the masks, too."""
    warp: ChangeConfig = field(default_factory=lambda: ChangeConfig(range=[0.01, 0.04]))
    """The picture bent smoothly, all frames alike: other proportions of the face; deviation as a share of the
    side."""
    occluder: ChangeConfig = field(default_factory=lambda: ChangeConfig(range=[0.1, 0.4]))
    """A moving shape; its length as a share of the side."""
    relight: ChangeConfig = field(default_factory=lambda: ChangeConfig(range=[0.1, 0.8]))
    """A smooth field of light; deviation in stops."""
    colour: ChangeConfig = field(default_factory=lambda: ChangeConfig(range=[0.02, 0.2]))
    """Gain, gamma, saturation, white balance; deviation as a share."""
    blur: ChangeConfig = field(default_factory=lambda: ChangeConfig(range=[0.002, 0.01]))
    """Gaussian; deviation as a share of the side."""
    compression: ChangeConfig = field(default_factory=lambda: ChangeConfig(range=[30, 95]))
    """JPEG, each frame by itself; quality."""
    source_shift: ChangeConfig = field(default_factory=lambda: ChangeConfig(range=[0.0, 1.0]))
    """The whole picture moves; pixels."""
    source_blur: ChangeConfig = field(default_factory=lambda: ChangeConfig(range=[0.002, 0.015]))
    source_noise: ChangeConfig = field(default_factory=lambda: ChangeConfig(range=[1.0, 10.0]))
    """Gaussian, new in every frame; deviation in levels of 255."""
    source_compression: ChangeConfig = field(default_factory=lambda: ChangeConfig(range=[20, 90]))

    def __post_init__(self) -> None:
        for name, change in self.changes().items():
            _check_change(f"augment.{name}", change)
            low_high = list(change.range)
            if name.endswith("compression") and not 1 <= low_high[0] <= low_high[1] <= 100:
                raise UserError(f"augment.{name}.range is {low_high}; JPEG qualities are from 1 to 100.")
        if not 0 <= self.flip <= 1:
            raise UserError(f"augment.flip is {self.flip}; give a probability from 0 to 1.")

    def changes(self) -> dict[str, ChangeConfig]:
        """All changes but the flip, by name."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: value for name, value in values.items() if name != "flip"}

    @property
    def active(self) -> bool:
        """Whether anything can be changed."""
        return bool(self.flip or any(change.probability for change in self.changes().values()))


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
            _check_change(f"speech_augment.{name}", change)

    def changes(self) -> dict[str, ChangeConfig]:
        """All changes by name."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    @property
    def active(self) -> bool:
        """Whether anything is ever changed."""
        return any(change.probability for change in self.changes().values())


def _check_change(key: str, change: ChangeConfig) -> None:
    low_high = list(change.range)
    if not 0 <= change.probability <= 1:
        raise UserError(f"{key}.probability is {change.probability}; give one from 0 to 1.")
    if len(low_high) != 2 or not 0 <= low_high[0] <= low_high[1]:
        raise UserError(f"{key}.range is {low_high}; give two numbers, the smaller one first.")
