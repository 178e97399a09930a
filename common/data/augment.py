"""Random changes of a pair of videos, alike on both members, and degradations of the condition alone.

Light, occluders and the like teach the editor to keep what it did not make; a worse source with an untouched
target teaches it not to copy the faults of its input (P §4 relights pairs; the rest is G).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.data.config import AugmentConfig
from common.data.occluders import Occluder, occlude
from common.data.photometric import (
    Change,
    add_noise,
    blur,
    compress,
    recolour,
    shift,
    to_bytes,
    vary_light,
)
from common.data.schema import LIP_SHAPES, POOLED, RELIABILITY, Frames
from common.data.warp import Warp, warp
from common.face.layout import MIRRORED
from common.face.mouth import LIP_GAPS, LIP_SHAPE
from common.own_mouths.reliability import SURE, pooled_levels

Make = Callable[[np.random.Generator, float, int, int], Change]
"""(generator, strength, frames, side) -> a change with everything random drawn."""

# In the order of the world: the face, things in front of it, light on both, the camera, the file.
_SHARED: dict[str, Make] = {
    "warp": lambda rng, strength, frames, side: warp(rng, strength * side, side),
    "occluder": lambda rng, strength, frames, side: occlude(rng, strength * side, frames, side),
    "relight": lambda rng, strength, frames, side: vary_light(rng, strength, frames),
    "colour": lambda rng, strength, frames, side: recolour(rng, strength),
    "blur": lambda rng, strength, frames, side: blur(strength * side),
    "compression": lambda rng, strength, frames, side: compress(strength),
}
_SOURCE: dict[str, Make] = {
    "source_shift": lambda rng, strength, frames, side: shift(rng, strength),
    "source_blur": lambda rng, strength, frames, side: blur(strength * side),
    "source_noise": lambda rng, strength, frames, side: add_noise(rng, strength),
    "source_compression": lambda rng, strength, frames, side: compress(strength),
}

# The gaps of the right and the left side change places.
_MIRRORED_SHAPE = [*reversed(range(LIP_GAPS)), *range(LIP_GAPS, len(LIP_SHAPE))]


@dataclass(frozen=True)
class AugmentedPair:
    """Both videos (N, S, S, 3) uint8 and what was done to them, by name, in order.

    Where things have moved (``bent``, ``flipped``) or are ``covered``, :meth:`landmarks` and :meth:`arrays`
    follow.
    """

    target: Frames
    source: Frames
    flipped: bool
    changes: tuple[str, ...]
    bent: Warp | None = None
    covered: Occluder | None = None

    def landmarks(self, landmarks: Tensor) -> Tensor:
        """(N, 68, 3) in pixels where the changed pictures show them."""
        if self.bent is not None:
            landmarks = self.bent.landmarks(landmarks)
        return flip_landmarks(landmarks, self.target.shape[2]) if self.flipped else landmarks

    def arrays(self, arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Masks, landmarks and what is said of own mouths (docs/data.md) as those of the changed pictures.

        Other arrays are handed on. Masks stay those of the face where something covers it; lip shapes are in
        units of the face, which a bend hardly changes.
        """
        moved = dict(arrays)
        for name, value in arrays.items():
            if name in POOLED:
                value = value if self.bent is None else self.bent.masks(value)
                value = self._covered(value) if name == RELIABILITY else value
                moved[name] = value.flip(-1) if self.flipped else value
            elif name == LIP_SHAPES:
                moved[name] = value[:, _MIRRORED_SHAPE] if self.flipped else value
            elif name.endswith("landmarks"):
                moved[name] = self.landmarks(value)
        return moved

    def _covered(self, levels: Tensor) -> Tensor:
        """Reliability (F, h, w) where both videos show the same thing before the face."""
        if self.covered is None:
            return levels
        alpha = [self.covered.alpha(i, frame.shape) for i, frame in enumerate(self.target)]
        same = np.floor(SURE * np.stack(alpha)).astype(np.uint8)
        pooled = torch.from_numpy(pooled_levels(same, same.shape[-1] // levels.shape[-1]))
        unsure = (SURE - levels.float()) * (SURE - pooled.float()) / SURE
        return (SURE - unsure.round()).to(levels.dtype)


def augment_pair(
    target: Frames, source: Frames, generator: torch.Generator, config: AugmentConfig
) -> AugmentedPair:
    """Change a pair as ``config`` says; a pure function of the videos, the generator's state and ``config``.

    Every kind of change draws from a generator of its own: to set one probability moves no other draw.

    Args:
        target, source: (N, S, S, 3) uint8 RGB of one shape.
    """
    if not config.active:
        return AugmentedPair(target, source, False, ())
    if target.shape != source.shape:
        raise ValueError(f"target is {target.shape}, source {source.shape}: they are no pair")
    seed = int(torch.randint(1 << 62, (1,), generator=generator))
    frames, side = target.shape[:2]
    shared = _draw(_SHARED, config, seed, frames, side)
    own = _draw(_SOURCE, config, seed, frames, side)
    flipped = bool(_rng(seed, "flip").random() < config.flip)
    target = _apply(target, list(shared.values()))
    source = _apply(source, [*shared.values(), *own.values()])
    if flipped:
        target, source = (np.ascontiguousarray(video[:, :, ::-1]) for video in (target, source))
    names = [*shared, *own, *(["flip"] if flipped else [])]
    bent, covered = shared.get("warp"), shared.get("occluder")
    return AugmentedPair(
        target,
        source,
        flipped,
        tuple(names),
        bent if isinstance(bent, Warp) else None,
        covered if isinstance(covered, Occluder) else None,
    )


def flip_landmarks(landmarks: Tensor, side: int) -> Tensor:
    """(N, 68, 3) in pixels: x mirrored, and the points renamed: left and right are those of the image."""
    mirrored = landmarks[:, list(MIRRORED)].clone()
    mirrored[..., 0] = side - 1 - mirrored[..., 0]
    return mirrored


def _draw(
    makers: Mapping[str, Make], config: AugmentConfig, seed: int, frames: int, side: int
) -> dict[str, Change]:
    drawn: dict[str, Change] = {}
    for name, make in makers.items():
        change = config.changes()[name]
        rng = _rng(seed, name)
        if rng.random() < change.probability:
            low, high = change.range
            drawn[name] = make(rng, rng.uniform(low, high), frames, side)
    return drawn


def _rng(seed: int, name: str) -> np.random.Generator:
    return np.random.default_rng([seed, *name.encode()])


def _apply(video: Frames, changes: Sequence[Change]) -> Frames:
    if not changes:
        return video
    made: list[NDArray[np.uint8]] = []
    for number, frame in enumerate(video):
        picture = frame.astype(np.float32)
        for change in changes:
            picture = change(number, picture)
        made.append(to_bytes(picture))
    return np.stack(made)
