"""Training samples of the painter: one open mouth each, in other light and place, sometimes mirrored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.data.photometric import recolour
from common.data.schema import Sample
from common.own_mouths.inside import Opening
from common.own_mouths.painting.patch import HEIGHT, UNIT, WIDTH, MouthView, known
from common.training.draws import Draw

# Light, gamma, saturation and balance; pixels by which the patch is moved; how well edges of lips are known.
_COLOUR, _SHIFT, _LANDMARKS = 0.2, 6, 0.004
# Mouths that a bend opens have other outlines than filmed ones: film is stretched either way by up to so much
# or shrunk by up to half of it, turned by about so much (radians), and each lip lies over up to this share of
# what is between them.
_STRETCH, _TURN, _COVERED = 0.12, 0.08, 0.25


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
    """Collate function: a mouth of each drawn stretch, changed as in training.

    Attributes:
        seed: of the training.
        told_fine: tell of all film that it is fine.
    """

    seed: int
    told_fine: bool = False

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
        moved = random.normal(0, _LANDMARKS * random.random(), (20, 2))
        patch, view = _cut(cache, number, moved, _Change.drawn(random))
        view = replace(view, opening=_covered(view.opening, _COVERED * random.random(2) ** 2))
        patch = recolour(random, _COLOUR)(0, patch)
        if random.random() < 0.5:
            patch, view = patch[:, ::-1], view.mirrored()
        return _told_and_filmed(patch, view.fine() if self.told_fine else view)


def every_mouth(sample: Sample) -> tuple[Tensor, Tensor, Tensor]:
    """All mouths of a stretch, unvaried, as a dub tells them.

    Returns:
        planes, filmed and mask as of :class:`OpenMouths`.
    """
    cache, rows, still = sample.cache, [], _Change(np.eye(2), np.zeros(2))
    for number in range(len(cache["gaps"])):
        patch, view = _cut(cache, number, 0.0, still)
        rows.append(_told_and_filmed(patch, view.fine()))
    planes, filmed, mask = (torch.from_numpy(np.stack(part)) for part in zip(*rows, strict=True))
    return planes, filmed, mask


@dataclass(frozen=True)
class _Change:
    """Of the film's place: x -> matrix (x - c) + c about the patch's middle c, then ``shift`` pixels."""

    matrix: NDArray[np.float64]
    shift: NDArray[np.float64]

    @classmethod
    def drawn(cls, random: np.random.Generator) -> _Change:
        angle = random.normal(0, _TURN)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        stretch = np.diag(np.exp(random.uniform(-0.5, 1, 2) * _STRETCH))
        return cls(turn @ stretch, random.integers(-_SHIFT, _SHIFT + 1, 2).astype(np.float64))


def _cut(
    cache: Mapping[str, Tensor], number: int, moved: NDArray[np.float64] | float, change: _Change
) -> tuple[NDArray[np.float32], MouthView]:
    """A mouth's patch (H, W, 3) in grey levels, changed, and how it is seen.

    Its lips (20, 2) are ``moved`` by eye-corner distances.
    """
    picture, face, centre, angles, unit = (
        cache[name][number].numpy() for name in ("patches", "faces", "centres", "angles", "units")
    )
    face = face.astype(np.float64)
    face[48:] += moved
    face = (face - centre) @ change.matrix.T + centre
    back = np.linalg.inv(change.matrix)
    middle, wide = (np.array(size, np.float64) - 1 for size in ((WIDTH, HEIGHT), picture.shape[1::-1]))
    start = wide / 2 + back @ (change.shift - middle / 2)
    patch = cv2.warpAffine(
        picture.astype(np.float32),
        np.column_stack([back, start]),
        (WIDTH, HEIGHT),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    view = MouthView.of(face, centre + change.shift / UNIT, angles, float(unit) / UNIT)
    return np.asarray(patch, np.float32), view


def _covered(opening: Opening, shares: NDArray[np.float64]) -> Opening:
    """With lips that lie over these shares (2,) of the gap, above and below."""
    upper, lower = opening.upper.copy(), opening.lower.copy()
    gap = np.maximum(opening.lower[:, 1] - opening.upper[:, 1], 0)
    upper[:, 1] += shares[0] * gap
    lower[:, 1] -= shares[1] * gap
    return Opening(upper, lower)


def _told_and_filmed(
    patch: NDArray[np.float32], view: MouthView
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    patch = np.ascontiguousarray(patch.clip(0, 255) / 255, np.float32)
    planes, mask = known(patch, view)
    return planes, np.ascontiguousarray(patch.transpose(2, 0, 1)), mask[None]
