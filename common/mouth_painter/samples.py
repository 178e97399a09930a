"""Training samples of the painter: one open mouth each, in other light and place, sometimes mirrored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.data.photometric import recolour
from common.data.schema import Sample
from common.mouth_painter.label import MARGIN
from common.own_mouths.inside import Opening
from common.own_mouths.painting.patch import HEIGHT, UNIT, WIDTH, MouthView, known
from common.training.draws import Draw

# Light, gamma, saturation and balance; pixels by which the patch is moved; how well edges of lips are known.
_COLOUR, _SHIFT, _LANDMARKS = 0.2, 6, 0.004


@dataclass(frozen=True)
class OpenMouths:
    """B mouths.

    Attributes:
        draws: of the rows.
        planes: (B, PLANES, H, W) what the painter is told.
        filmed: (B, 3, H, W) what was filmed, 0 to 1.
        mask: (B, 1, H, W) what is to be painted.
    """

    draws: tuple[Draw, ...]
    planes: Tensor
    filmed: Tensor
    mask: Tensor

    def __len__(self) -> int:
        return len(self.draws)

    @property
    def step(self) -> int:
        """Of the optimiser."""
        return self.draws[0].step

    def to(self, device: torch.device) -> OpenMouths:
        return OpenMouths(self.draws, self.planes.to(device), self.filmed.to(device), self.mask.to(device))


@dataclass(frozen=True)
class CollateMouths:
    """Collate function: a mouth of each drawn stretch, changed as in training."""

    seed: int

    def __call__(self, items: Sequence[tuple[Draw, Sample]]) -> OpenMouths:
        rows = [self._mouth(draw, sample) for draw, sample in items]
        planes, filmed, mask = (torch.from_numpy(np.stack(part)) for part in zip(*rows, strict=True))
        return OpenMouths(tuple(draw for draw, _ in items), planes, filmed, mask)

    def _mouth(self, draw: Draw, sample: Sample) -> tuple[NDArray, NDArray, NDArray]:
        state = draw.generator(self.seed, "mouth").initial_seed()
        random = np.random.default_rng(state)
        cache = sample.cache
        # Wide mouths are rare, and those that film cannot fill.
        gaps = cache["gaps"].double().clamp(min=0.01).numpy()
        number = int(random.choice(len(gaps), p=gaps / gaps.sum()))
        shift = random.integers(-_SHIFT, _SHIFT + 1, 2)
        moved = random.normal(0, _LANDMARKS * random.random(), (20, 2))
        patch, view = _cut(cache, number, shift, moved)
        patch = recolour(random, _COLOUR)(0, patch)
        if random.random() < 0.5:
            patch, view = patch[:, ::-1], view.mirrored()
        return _told_and_filmed(patch, view)


def every_mouth(sample: Sample) -> tuple[Tensor, Tensor, Tensor]:
    """All mouths of a stretch, unvaried: planes, filmed and mask as of :class:`OpenMouths`."""
    cache = sample.cache
    still = np.zeros(2, np.int64)
    rows = [_told_and_filmed(*_cut(cache, n, still, 0.0)) for n in range(len(cache["gaps"]))]
    planes, filmed, mask = (torch.from_numpy(np.stack(part)) for part in zip(*rows, strict=True))
    return planes, filmed, mask


def _cut(
    cache: Mapping[str, Tensor], number: int, shift: NDArray[np.int64], moved: NDArray[np.float64] | float
) -> tuple[NDArray[np.float32], MouthView]:
    """A mouth's patch (H, W, 3) in grey levels, ``shift`` pixels aside, and how it is seen with its lips
    (20, 2) ``moved`` by eye-corner distances."""
    picture, face, centre, angles, unit = (
        cache[name][number].numpy() for name in ("patches", "faces", "centres", "angles", "units")
    )
    face = face.astype(np.float64)
    face[48:] += moved
    left, top = MARGIN + shift
    patch = picture[top : top + HEIGHT, left : left + WIDTH].astype(np.float32)
    opening, place = Opening.of(face), centre + shift / UNIT
    return patch, MouthView(opening, place, float(angles[0]), float(angles[1]), float(unit) / UNIT)


def _told_and_filmed(
    patch: NDArray[np.float32], view: MouthView
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    patch = np.ascontiguousarray(patch.clip(0, 255) / 255, np.float32)
    planes, mask = known(patch, view)
    return planes, np.ascontiguousarray(patch.transpose(2, 0, 1)), mask[None]
