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

from common.face.layout import RIGID_UPPER
from common.face.pose import HeadPose

Array = NDArray[np.float64]

# Brows, nose and eyes; and where skin is looked at, as pairs of points whose middle it is.
_POINTS = (17, 19, 21, 22, 24, 26, *range(27, 48))
_SKIN = ((33, 51), (2, 31), (14, 35))
_SKIN_REACH = 2  # pixels
_MOST_PER_SHOT = 30
# Differences that count 1: RMS of the points (eye-corner distances), log ratio of a colour's share. Two
# halves of one clip lie at 0.3 to 2.4 in sum (13 clips), two persons at 1.7 and more.
_GEOMETRY, _COLOUR = 0.012, 0.08
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
    """The shots of a clip in which a face was seen, collected frame by frame.

    Attributes:
        of_frame: frame -> number of its shot, from 0 on. A face that was away for long comes back in
            another one.
    """

    of_frame: dict[int, int] = field(default_factory=dict)
    _faces: list[list[tuple[Array, Array]]] = field(default_factory=list)
    _last: int = -(10**9)
    _last_shot: int = -1

    def add(self, index: int, image: NDArray[np.uint8], points: Array, pose: HeadPose, shot: int) -> None:
        """One frame: its number, picture, landmarks (68, 3), pose, and number of its shot in the clip."""
        if shot != self._last_shot or index - self._last > _AWAY:
            self._faces.append([])
        self._last, self._last_shot = index, shot
        self.of_frame[index] = len(self._faces) - 1
        seen = self._faces[-1]
        if len(seen) < _MOST_PER_SHOT:
            seen.append((_proportions(points, pose), _skin(image, points)))

    @cached_property
    def _table(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Frames that were seen, rising, and their shots; asked for once all were added."""
        count = len(self.of_frame)
        frames = np.fromiter(self.of_frame.keys(), np.int64, count)
        return frames, np.fromiter(self.of_frame.values(), np.int64, count)

    @cached_property
    def _looks(self) -> tuple[Array, Array]:
        """(S, P, 2) proportions and (S, 3) colours of all shots, each the median over its frames."""
        geometry = np.stack([np.median([g for g, _ in faces], axis=0) for faces in self._faces])
        return geometry, np.stack([np.median([c for _, c in faces], axis=0) for faces in self._faces])

    def numbers(self, frames: NDArray[np.int64]) -> NDArray[np.int64]:
        """(N,) shots of frames; a frame that was not seen belongs to the shot of the last one before it."""
        known, shots = self._table
        return shots[np.maximum(np.searchsorted(known, frames, side="right") - 1, 0)]

    def moment_costs(self, shot: int) -> Array:
        """(S,) cost of a moment of each shot in a frame of ``shot``; 0 for its own."""
        geometry, colour = self._looks
        apart = np.sqrt(np.square(geometry - geometry[shot]).sum(axis=-1).mean(axis=-1)) / _GEOMETRY
        apart += np.abs(colour - colour[shot]).max(axis=-1) / _COLOUR
        cost = _OTHER_SHOT + _OTHER_PERSON * np.square(np.maximum(apart - _FREE, 0))
        cost[shot] = 0.0
        return np.minimum(cost, _MOST)


def _proportions(points: Array, pose: HeadPose) -> Array:
    """(P, 2) brows, nose and eyes of the head turned to the front, in eye-corner distances."""
    centred = points - points[list(RIGID_UPPER)].mean(axis=0)
    return (centred @ pose.rotation[0])[list(_POINTS), :2] / pose.scale[0]


def _skin(image: NDArray[np.uint8], points: Array) -> Array:
    """(3,) logarithms of the shares of red, green and blue in the skin: the light's strength cancels."""
    height, width = image.shape[:2]
    colours = []
    for a, b in _SKIN:
        x, y = np.rint((points[a, :2] + points[b, :2]) / 2).astype(int)
        x, y = min(max(x, 0), width - 1), min(max(y, 0), height - 1)
        part = image[
            max(0, y - _SKIN_REACH) : y + _SKIN_REACH + 1, max(0, x - _SKIN_REACH) : x + _SKIN_REACH + 1
        ]
        colours.append(part.reshape(-1, 3).mean(axis=0))
    colour = np.mean(colours, axis=0) + 1
    return np.log(colour / colour.sum())
