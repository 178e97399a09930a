"""Training samples of the painter: one open mouth each, in other light and place, sometimes mirrored."""

from __future__ import annotations

from collections.abc import Sequence
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
    """Collate function: a mouth of each drawn stretch; ``vary``: with the changes of training."""

    seed: int
    vary: bool = True

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
        picture, face, centre, angles, unit = (
            cache[name][number].numpy() for name in ("patches", "faces", "centres", "angles", "units")
        )
        shift, face = np.zeros(2, np.int64), face.astype(np.float64)
        if self.vary:
            shift = random.integers(-_SHIFT, _SHIFT + 1, 2)
            face[48:] += random.normal(0, _LANDMARKS * random.random(), face[48:].shape)
        left, top = MARGIN + shift
        patch = picture[top : top + HEIGHT, left : left + WIDTH].astype(np.float32)
        view = MouthView(
            Opening.of(face), centre + shift / UNIT, float(angles[0]), float(angles[1]), float(unit) / UNIT
        )
        if self.vary:
            patch = recolour(random, _COLOUR)(0, patch)
            if random.random() < 0.5:
                patch, view = patch[:, ::-1], view.mirrored()
        patch = np.ascontiguousarray(patch.clip(0, 255) / 255, np.float32)
        planes, mask = known(patch, view)
        return planes, np.ascontiguousarray(patch.transpose(2, 0, 1)), mask[None]
