"""Training data: which shards are drawn, in what order, and what is changed about their pictures."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from common.checks import at_least, clip_length, one_of, share
from common.errors import UserError
from common.random_change import ChangeConfig, check_change


@dataclass
class DataConfig:
    """Shard folders (or their index.json) and, when given, how often each is drawn relative to the others."""

    shards: list[str] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    order: str = "shuffle"  # | "stream": every row of the batch reads whole shards one after another
    speaker_exponent: float = 1.0  # speakers with n clips are drawn like n to this power; 0: equally

    def __post_init__(self) -> None:
        one_of("data.order", self.order, ("shuffle", "stream"))
        at_least("data.speaker_exponent", self.speaker_exponent, 0.0)
        if self.speaker_exponent != 1.0 and (self.order == "stream" or self.clip_lengths):
            raise UserError(
                "data.speaker_exponent draws every clip by itself: it goes with data.order=shuffle and "
                "without data.buckets."
            )
        if self.weights and len(self.weights) != len(self.shards):
            raise UserError(
                f"data.weights has {len(self.weights)} numbers but data.shards {len(self.shards)} folders: "
                "give one each, or none."
            )

    @property
    def clip_lengths(self) -> list[int]:
        """Lengths in frames that clips are sorted by and cut to; empty: all get the same length."""
        return []


@dataclass
class FlowDataConfig(DataConfig):
    """The ``data`` section of a training of the dubbing transformer."""

    buckets: list[int] = field(
        default_factory=list
    )  # lengths of clips in frames, 4k+1; empty: all are cut to geometry.clip_frames
    held_out: list[str] = field(
        default_factory=list
    )  # shards of other speakers, measured and never trained on

    def __post_init__(self) -> None:
        super().__post_init__()
        for length in self.buckets:
            clip_length("data.buckets", length)
        if both := set(self.shards) & set(self.held_out):
            raise UserError(
                f"data.held_out names {sorted(both)[0]}, which is also in data.shards: name others."
            )

    @property
    def clip_lengths(self) -> list[int]:
        return list(self.buckets)


@dataclass
class DegradedLipsConfig:
    """Pairs for a model that refines lips: the source is the target with lips at low resolution."""

    resolution: list[int] = field(default_factory=list)
    """Least and most pixels of the crop's side that lips are brought down to; empty: pairs as they are."""
    repeated: float = 0.1
    """Probability that a frame of the source shows the lips of the frame before."""

    def __post_init__(self) -> None:
        share("data.degraded_lips.repeated", self.repeated)
        sides = self.resolution
        if sides and not (len(sides) == 2 and 1 <= sides[0] <= sides[1]):
            raise UserError(
                f"data.degraded_lips.resolution is {list(sides)}: give the least and the most pixels of the "
                "crop's side, such as [32, 64]."
            )

    @property
    def active(self) -> bool:
        """Whether sources are made so."""
        return bool(self.resolution)


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
            check_change(f"augment.{name}", change)
            low_high = list(change.range)
            if name.endswith("compression") and not 1 <= low_high[0] <= low_high[1] <= 100:
                raise UserError(f"augment.{name}.range is {low_high}; JPEG qualities are from 1 to 100.")
        share("augment.flip", self.flip)

    def changes(self) -> dict[str, ChangeConfig]:
        """All changes but the flip, by name."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: value for name, value in values.items() if name != "flip"}

    @property
    def active(self) -> bool:
        """Whether anything can be changed."""
        return bool(self.flip or any(change.probability for change in self.changes().values()))
