"""The faces of a video's shots, and what it costs to use a moment of one shot in another.

A mouth must come from the same person. No network recognises people here: the proportions of eyes, brows and
nose, which do not move with speech, and the colour of the skin distinguish most people. Where they do not,
little is lost: each shot prefers its own moments anyway.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from common.face.looks import Looks, looks_apart
from common.face.pose import HeadPose

Array = NDArray[np.float64]

# Cost of a moment from another shot, and of one that seems another person's: per squared difference beyond
# the free one.
_OTHER_SHOT, _OTHER_PERSON, _FREE = 0.5, 3.0, 0.8
_MOST = 100.0
STRANGER = 9.0
"""A moment that costs so much more is another person's: no two halves of one clip do."""
# A face that was away for more frames than this comes back in another shot.
_AWAY = 10


@dataclass
class Shots:
    """The shots of a clip in which a face was seen, collected frame by frame, from 0 on.

    A face that was away for long comes back in another one.
    """

    _starts: list[int] = field(default_factory=list)
    _faces: list[Looks] = field(default_factory=list)
    _last: int = -(10**9)
    _last_shot: int = -1

    def add(self, index: int, image: NDArray[np.uint8], points: Array, pose: HeadPose, shot: int) -> None:
        """One frame: its number, picture, landmarks (68, 3), pose, and number of its shot in the clip."""
        if shot != self._last_shot or index - self._last > _AWAY:
            self._starts.append(index)
            self._faces.append(Looks())
        self._last, self._last_shot = index, shot
        self._faces[-1].add(image, points, pose)

    @cached_property
    def _looks(self) -> tuple[Array, Array]:
        """(S, P, 2) proportions and (S, 3) colours of all shots, each the median over its frames."""
        geometry, colour = zip(*(face.medians() for face in self._faces), strict=True)
        return np.stack(geometry), np.stack(colour)

    def numbers(self, frames: NDArray[np.int64]) -> NDArray[np.int64]:
        """(N,) shots of frames; a frame that was not seen belongs to the shot of the last one before it."""
        return np.maximum(np.searchsorted(self._starts, frames, side="right") - 1, 0)

    def moment_costs(self, shot: int) -> Array:
        """(S,) cost of a moment of each shot in a frame of ``shot``; 0 for its own."""
        geometry, colour = self._looks
        apart = looks_apart((geometry, colour), (geometry[shot], colour[shot]))
        cost = _OTHER_SHOT + _OTHER_PERSON * np.square(np.maximum(apart - _FREE, 0))
        cost[shot] = 0.0
        return np.minimum(cost, _MOST)
