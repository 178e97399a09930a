"""What the first pass over a clip collects for own mouths."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.face.overlays import Overlays, OverlayWatch
from common.face.pose import fit_pose
from common.face.types import FaceObservation, ImageArray
from common.own_mouths.bank import Bank, BankBuilder
from common.own_mouths.config import OwnMouthsConfig
from common.own_mouths.occluders import Occluders, OccluderWatch, free_moments
from common.own_mouths.overlays import without_overlays
from common.own_mouths.sharpness import FrameSharpness
from common.own_mouths.shots import Shots

LEAST_MOMENTS = 5
"""With fewer moments a clip has no own mouths."""


@dataclass(frozen=True)
class ClipMouths:
    """The mouths of a clip.

    Attributes:
        bank: moments, none of them covered, with landmarks that can be trusted.
        sharpness: of its frames, as :attr:`common.own_mouths.bank.Bank.sharpness`.
        occluders: what lies before the face; None where they were not looked for or cannot be found.
        guessed: frames whose landmarks were not measured.
        shots: of the clip; None: all of it is one.
        overlays: subtitles and logos over the face; None: there are none, or they were not looked for.
    """

    bank: Bank
    sharpness: FrameSharpness
    occluders: Occluders | None = None
    guessed: frozenset[int] = frozenset()
    shots: Shots | None = None
    overlays: Overlays | None = None

    def moment_costs(self, run: range) -> NDArray[np.float64] | None:
        """(M,) extra cost of each moment, for being of another shot than the run; None where all are 0."""
        if self.shots is None:
            return None
        (shot,) = self.shots.numbers(np.array([run.start]))
        cost = self.shots.moment_costs(int(shot))[self._bank_shots]
        return cost if cost.any() else None

    @cached_property
    def _bank_shots(self) -> NDArray[np.int64]:
        """(M,) shots of the moments."""
        assert self.shots is not None
        return self.shots.numbers(self.bank.frames)

    def within_shots(self, run: range) -> list[range]:
        """A run of frames in parts that no cut divides."""
        if self.shots is None:
            return [run]
        numbers = self.shots.numbers(np.arange(run.start, run.stop))
        edges = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(run)]
        return [range(run.start + a, run.start + b) for a, b in pairwise(edges)]


class MouthCollector:
    """Watches a face being followed (:func:`common.face.track.track_face`) and collects its mouths."""

    def __init__(self, config: OwnMouthsConfig) -> None:
        self._builder = BankBuilder(config)
        self._watch = OccluderWatch() if config.occluders else None
        self._overlays = OverlayWatch() if config.overlays else None
        self._guessed: set[int] = set()

    def watch(self, index: int, image: ImageArray, seen: FaceObservation, shot: int) -> None:
        """One frame, and the number of its shot.

        A neutral face that was placed in a box tells nothing about lips and is passed over.
        """
        if not seen.measured or not np.isfinite(seen.landmarks).all():
            self._guessed.add(index)
            return
        face, pose = None, fit_pose(seen.landmarks[None])
        if self._watch is not None:
            face = self._watch.look(index, image, seen, pose)
        if self._overlays is not None:
            self._overlays.look(index, image, seen.landmarks, float(pose.scale[0]), shot)
        self._builder.add(index, image, seen.landmarks, face, shot, pose)

    def finish(self) -> ClipMouths | None:
        """What was collected; None where the clip shows too few mouths that nothing covers."""
        faces: list[Any] = self._builder.extras
        sharpness = self._builder.sharpness
        bank = self._builder.finish()
        if bank is None:
            return None
        occluders, free = None, ~bank.lost
        if self._watch is not None:
            occluders = self._watch.finish()
            if occluders.none:
                occluders = None
            else:
                free &= free_moments(occluders, bank.frames, faces, bank.heads.landmarks)
        bank = bank if free.all() else bank.limited(free)
        overlays = None if self._overlays is None else self._overlays.finish()
        if overlays is not None:
            bank = without_overlays(bank, overlays, LEAST_MOMENTS)
        if len(bank) < LEAST_MOMENTS:
            return None
        guessed = frozenset(self._guessed)
        return ClipMouths(bank, sharpness, occluders, guessed, self._builder.shots, overlays)
