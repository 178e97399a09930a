"""What becomes of a pair when it is packed: the pair itself, relit now and then, and augmented copies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from common.data.augment import augment_pair
from common.data.writer import safe_key
from stage1_generator.companions.plan import clip_seed
from stage1_generator.config import Stage1Config
from stage1_generator.pairs.relight import is_relit, light_field, relight


@dataclass(frozen=True)
class Copy:
    """A sample to be written: `number` 0 is the pair itself, others are augmented."""

    item: Any
    pair_key: str
    number: int

    @property
    def key(self) -> str:
        return safe_key(f"{self.pair_key}-aug{self.number}") if self.number else self.pair_key


@dataclass(frozen=True)
class Pictures:
    """Both videos (N, S, S, 3), arrays of a sample (docs/data.md) with the target's landmarks, and what
    `meta.json` says of changes."""

    target: NDArray[np.uint8]
    source: NDArray[np.uint8]
    arrays: dict[str, NDArray[Any]]
    meta: dict[str, Any]


def plan_copies(items: Sequence[Any], keys: Sequence[str], copies: int) -> list[Copy]:
    """Each pair followed by its copies, so that it is read once for all of them."""
    return [
        Copy(item, key, number) for item, key in zip(items, keys, strict=True) for number in range(copies + 1)
    ]


def by_pair(copies: Sequence[Copy]) -> Iterator[list[Copy]]:
    """Consecutive copies of the same pair together."""
    for _, group in groupby(copies, key=lambda copy: copy.pair_key):
        yield list(group)


def changed(pictures: Pictures, copy: Copy, config: Stage1Config) -> Pictures:
    """The pictures of one copy; a pure function of the pair, the copy and the configuration."""
    seed, side = config.synthesis.seed, config.geometry.crop_size
    target, source = pictures.target, pictures.source
    if not copy.number:
        relit = is_relit(copy.pair_key, seed, config.pack.relight_fraction)
        if relit:
            gain = light_field(clip_seed(seed, copy.pair_key, "light"), side)
            target, source = relight(target, gain), relight(source, gain)
        return Pictures(target, source, pictures.arrays, {**pictures.meta, "relit": relit})
    purpose = f"augment{copy.number}"
    generator = torch.Generator().manual_seed(clip_seed(seed, copy.pair_key, purpose))
    pair = augment_pair(target, source, generator, config.augment)
    moved = pair.arrays({name: torch.from_numpy(array) for name, array in pictures.arrays.items()})
    arrays = {name: array.numpy() for name, array in moved.items()}
    said = {"relit": False, "copy_of": copy.pair_key, "changes": list(pair.changes)}
    return Pictures(pair.target, pair.source, arrays, {**pictures.meta, **said})
