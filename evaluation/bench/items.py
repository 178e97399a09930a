"""Which clips the rendered benchmark has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from common.errors import UserError
from common.rendered.scene import HELD_OUT_SEEDS

VERSION = 1
"""Raised whenever an item shows or says something else; numbers of two versions are not comparable."""

_FIRST_SEED = 1_500_000
_SEEDS_PER_GROUP = 1_000

GROUPS = {
    "front": "faces the camera",
    "profile": "turned away by 42 to 58 degrees",
    "occluded": "a hand, a microphone or a cup passes in front of the mouth",
    "stylised": "drawn as a cartoon, in flat or in soft colours",
    "non-human": "animals, robots, aliens",
    "light": "dim, flickering, coloured or wandering light",
    "several-people": "two people in a wide picture; the track says who is dubbed, the other one talks on",
    "fast-motion": "large quick movements of the head, with motion blur",
    "long": "a long clip: drift and seams",
    "singing": "sustained vowels on the notes of a melody",
    "silence": "the speech is silence: the mouth stays shut",
}
"""Group -> what is special about it."""


@dataclass(frozen=True)
class BenchItem:
    """One character of the benchmark: everything about its two clips follows from these values.

    Attributes:
        group, number: of GROUPS, and the count within the group.
        seed: of scene, voice and speech, never one to train on.
        seconds: length of both clips.
        pixels: height of the picture.
    """

    group: str
    number: int
    seed: int
    seconds: float
    pixels: int

    @property
    def name(self) -> str:
        return f"{self.group}-{self.number}"


@dataclass(frozen=True)
class _Size:
    pixels: int
    seconds: float
    long_pixels: int
    long_seconds: float
    count: int
    counts: dict[str, int]


SIZES = {
    "quick": _Size(256, 2.0, 256, 10.0, 1, {"stylised": 2, "non-human": 2}),
    "full": _Size(
        512, 3.0, 384, 25.0, 4, {"occluded": 6, "stylised": 6, "non-human": 5, "long": 2, "silence": 3}
    ),
}
"""Name -> how many clips, how long and how large: "quick" to see that all works, "full" for numbers."""


def bench_items(size: str = "quick", groups: Sequence[str] | None = None) -> list[BenchItem]:
    """The items of a size in the order of GROUPS, of all groups or of those named.

    Raises:
        UserError: unknown size or group.
    """
    if size not in SIZES:
        raise UserError(f"There is no benchmark size '{size}': choose one of {', '.join(SIZES)}.")
    unknown = [group for group in groups or () if group not in GROUPS]
    if unknown:
        raise UserError(f"There is no benchmark group '{unknown[0]}': choose from {', '.join(GROUPS)}.")
    chosen, items = SIZES[size], []
    for place, group in enumerate(GROUPS):
        if groups and group not in groups:
            continue
        long = group == "long"
        for number in range(chosen.counts.get(group, chosen.count)):
            seed = _FIRST_SEED + _SEEDS_PER_GROUP * place + number
            assert seed in HELD_OUT_SEEDS
            seconds = chosen.long_seconds if long else chosen.seconds
            pixels = chosen.long_pixels if long else chosen.pixels
            items.append(BenchItem(group, number, seed, seconds, pixels))
    return items
