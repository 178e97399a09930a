"""Heads of frames, and points carried from one head to another."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from common.face.canonical import cheek_points
from common.face.layout import INNER_LIP_PAIRS, MOUTH, RIGID_UPPER
from common.face.mouth import lip_shape, mouth_shape
from common.face.pose import HeadPose, fit_pose, rigid_similarity

Array = NDArray[np.float64]

_RIGID = list(RIGID_UPPER)
# The lips' middle goes down by this share of the gap: Theil-Sen slopes of five of six clips are .19 to .26.
_MIDDLE_OF_GAP = 0.2


@dataclass(frozen=True)
class Heads:
    """Landmarks of N frames with the poses that they tell.

    Attributes:
        landmarks: (N, 68, 3) pixels, finite; of the kind that was given.
        pose: of each frame.
    """

    landmarks: NDArray[np.floating]
    pose: HeadPose

    @classmethod
    def of(cls, landmarks: NDArray[np.floating]) -> Heads:
        """Fit the poses of (N, 68, 2 or 3) landmarks; without depth a head is turned in the plane only."""
        points = landmarks
        if points.shape[-1] == 2:
            points = np.concatenate([points, np.zeros((*points.shape[:2], 1), points.dtype)], axis=-1)
        return cls(points, fit_pose(points))

    def __len__(self) -> int:
        return len(self.landmarks)

    def __getitem__(self, part: slice | NDArray) -> Heads:
        pose = HeadPose(self.pose.scale[part], self.pose.rotation[part], self.pose.translation[part])
        return Heads(self.landmarks[part], pose)

    def points(self, index: int) -> Array:
        """(68, 3) float64 pixels of a frame."""
        return np.asarray(self.landmarks[index], np.float64)

    @cached_property
    def cheeks(self) -> Array:
        """(N, 6, 2) pixels: where the canonical head has its cheeks."""
        return self.pose.project(cheek_points())

    @cached_property
    def angles(self) -> Array:
        """(N, 4): yaw, pitch, roll in radians and the logarithm of the scale."""
        r = self.pose.rotation
        yaw = np.arctan2(-r[:, 2, 0], np.hypot(r[:, 0, 0], r[:, 1, 0]))
        pitch = np.arctan2(r[:, 2, 1], r[:, 2, 2])
        roll = np.arctan2(r[:, 1, 0], r[:, 0, 0])
        return np.stack([yaw, pitch, roll, np.log(self.pose.scale)], axis=1)

    def turned(self, index: int, onto: Heads, other: int) -> Array:
        """(68, 2) pixels: the face of frame ``index`` held as the head of frame ``other`` of ``onto`` is.

        With c the mean rigid point, s the scale and R the rotation of each pose, p -> s'/s R' R^T (p - c) +
        c'; then the similarity of the plane that lays the rigid points onto those of the other frame, by
        least squares.
        """
        moved = _carried(
            self.points(index),
            self.pose.scale[index],
            self.pose.rotation[index],
            onto.pose.scale[other],
            onto.pose.rotation[other],
        )
        return fitted(moved[:, :2], onto.points(other)[:, :2])

    @cached_property
    def _upright(self) -> Array:
        """(N, 68, 2): all faces in the median pose of the N frames, so that a nod is no lip movement."""
        mean = np.median(self.pose.rotation, axis=0)
        left, _, right = np.linalg.svd(mean)
        rotation, scale = left @ right, float(np.median(self.pose.scale))
        rows = [
            _carried(self.points(i), s, r, scale, rotation)
            for i, (s, r) in enumerate(zip(self.pose.scale, self.pose.rotation, strict=True))
        ]
        stack = np.stack(rows)
        goal = np.median(stack - stack[:, _RIGID].mean(axis=1, keepdims=True), axis=0)[:, :2]
        return np.stack([fitted(row[:, :2], goal) for row in stack])

    def lip_shapes(self) -> Array:
        """(N, 7) of :func:`common.face.mouth.lip_shape`, of the faces in their median pose."""
        return lip_shape(self._upright)

    def expressions(self) -> Array:
        """(N, 3) what a mouth does beside speaking, in eye-corner distances, of the faces in their median
        pose.

        How far its middle is drawn aside, how far its left corner lies below its right one, and how far the
        corners lie below the lips' middles (a smile raises them) beyond what the opening explains: the lower
        lip goes down further than the upper one goes up.
        """
        mouth = mouth_shape(self._upright)
        first = MOUTH[0]
        right, left = mouth[:, 48 - first], mouth[:, 54 - first]
        corners = (right + left) / 2
        middle = (mouth[:, 51 - first, 1] + mouth[:, 57 - first, 1]) / 2
        gaps = [mouth[:, low - first, 1] - mouth[:, up - first, 1] for up, low in INNER_LIP_PAIRS]
        low = corners[:, 1] - middle + _MIDDLE_OF_GAP * np.mean(gaps, axis=0)
        return np.stack([corners[:, 0], left[:, 1] - right[:, 1], low], axis=1)


def _carried(points: Array, scale: float, rotation: Array, new_scale: float, new_rotation: Array) -> Array:
    centred = points - points[_RIGID].mean(axis=0)
    return new_scale / scale * centred @ (new_rotation @ rotation.T).T


def fitted(points: Array, goal: Array) -> Array:
    """Points (68, 2) under the similarity of the plane that lays their rigid ones on those of ``goal``."""
    factor, shift = rigid_similarity(points[None], goal[None])
    moved = factor[0] * (points[:, 0] + 1j * points[:, 1]) + shift[0]
    return np.stack([moved.real, moved.imag], axis=1)
