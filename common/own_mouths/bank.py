"""The moments of a clip: what its mouth looked like, measured and kept at the clip's own resolution.

A bank is built while the face is followed, so that the source is decoded once for both. It is bounded: when
it is full the runs of frames that differ least from the others are given up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from common.face.jumps import jumps
from common.face.layout import CHIN, RIGID_UPPER
from common.face.mouth import mouth_opening
from common.face.pose import HeadPose, fit_pose
from common.face.rows import Rows
from common.own_mouths.config import OwnMouthsConfig
from common.own_mouths.frame import FaceAxes
from common.own_mouths.heads import Heads
from common.own_mouths.sharpness import FrameSharpness, compared_at_one_opening, picture_sharpness
from common.own_mouths.shots import Shots

Array = NDArray[np.float64]
Landmarks = NDArray[np.floating]
Image = NDArray[np.uint8]

RUN_FRAMES = 25
"""Frames that are kept or given up together: moments are worth most with those before and after them."""

# The patch around the mouth in the face's axes: half width, and how far it reaches below the chin and above
# the nose's base.
_HALF_WIDTH, _BELOW_CHIN, _ABOVE_NOSE = 0.85, 0.22, 0.2
# The small picture by which moments are compared: columns, rows, eye-corner distances
# across, and where the mouth lies in it.
_LOOK_SIZE = (24, 14)
_LOOK_WIDTH = 0.8
_LOOK_MOUTH = (12.0, 6.0)
_LOOK_LEVELS = 40.0
# The picture by which sharpness is measured: columns, rows, pixels to the eye-corner distance, and where the
# mouth lies in it.
_LIPS_SIZE, _LIPS_SCALE, _LIPS_MOUTH = (64, 23), 64.0, (32.0, 9.0)
# An expression that is plainly not the clip's usual one, in eye-corner distances.
_GRIMACE_UNITS = np.array([0.04, 0.04, 0.05])
# A full bank is thinned to this share.
_THINNED = 0.8

SHAPE_WEIGHTS = np.array([0.7, 1.0, 0.7, 0.8, 0.4, 0.7, 0.5])
"""Of the values of a lip shape, where shapes are compared."""
POSE_TOLERANCES = np.array([0.08, 0.08, 0.3, 0.12])
"""Yaw, pitch, roll (radians) and log scale that count as much as one unit of lip shape."""


@dataclass(frozen=True)
class Patch:
    """Pixels around a mouth.

    Attributes:
        picture: (h, w, 3) uint8 RGB.
        origin: x, y of its first pixel in the frame.
    """

    picture: Image
    origin: tuple[int, int]


@dataclass(frozen=True)
class Bank:
    """M moments in the order of time.

    Attributes:
        frames: (M,) their frames in the clip.
        heads: their faces.
        shapes: (M, 7) lip shapes.
        expressions: (M, 3) of :meth:`common.own_mouths.heads.Heads.expressions`, less their median.
        looks: (M, K) small pictures of the mouth, light taken out.
        sharpness: (M,) of the lips at a common size, as if all were as open
            (:func:`common.own_mouths.sharpness.compared_at_one_opening`).
        follows: (M,) bool: moment i is the frame after moment i - 1, in the same shot.
        patches: M pictures.
    """

    frames: NDArray[np.int64]
    heads: Heads
    shapes: Array
    expressions: Array
    looks: NDArray[np.float32]
    sharpness: Array
    follows: NDArray[np.bool_]
    patches: list[Patch]

    def __len__(self) -> int:
        return len(self.frames)

    @cached_property
    def motion(self) -> Array:
        """(M, 2) pixels by which the head has moved since the moment before; unknown counts as still."""
        moved = head_motion(self.heads.landmarks)
        moved[~self.follows] = 0.0
        return moved

    @cached_property
    def askew(self) -> Array:
        """(M,) how far each mouth differs from its mirror image, more than the clip's usually do.

        The mean square, in the units of the looks, of what a line over the yaw does not explain. Landmarks of
        a mouth that is pulled to one side lie where a straight one would have them.
        """
        looks = self.looks.reshape(-1, *_LOOK_SIZE[::-1])
        apart = (looks - looks[:, :, ::-1])[:, :, : _LOOK_SIZE[0] // 2].reshape(len(looks), -1)
        line = np.column_stack([np.ones(len(looks)), self.heads.angles[:, 0]])
        usual = line @ np.linalg.lstsq(line, apart, rcond=None)[0]
        return np.asarray(np.square(apart - usual).mean(axis=1))

    @property
    def lost(self) -> NDArray[np.bool_]:
        """(M,) moments whose landmarks the detector has lost (:mod:`common.face.jumps`)."""
        runs = np.split(np.arange(len(self)), np.flatnonzero(~self.follows)[1:])
        units = [float(np.median(self.heads.pose.scale[run])) for run in runs]
        return np.concatenate(
            [
                jumps(self.heads.landmarks[run], self.frames[run], unit)
                for run, unit in zip(runs, units, strict=True)
            ]
        )

    def with_pictures(self, pictures: Mapping[int, Image]) -> Bank:
        """The bank with other pictures (h, w, 3) of some moments, as large as those that it has."""
        looks, patches = self.looks.copy(), list(self.patches)
        for number, picture in pictures.items():
            patches[number] = replace(patches[number], picture=picture)
            points = self.heads.landmarks[number] - [*patches[number].origin, 0]
            looks[number] = _look(picture, points, FaceAxes.of(points, float(self.heads.pose.scale[number])))
        return replace(self, looks=looks, patches=patches)

    def limited(self, chosen: NDArray) -> Bank:
        """The bank with only the ``chosen`` moments (indices or mask)."""
        index = np.flatnonzero(chosen) if chosen.dtype == bool else np.asarray(chosen)
        follows = self.follows[index] & (np.diff(index, prepend=-2) == 1)
        return Bank(
            self.frames[index],
            self.heads[index],
            self.shapes[index],
            self.expressions[index],
            self.looks[index],
            self.sharpness[index],
            follows,
            [self.patches[i] for i in index],
        )


@dataclass
class _Run:
    frames: list[int] = field(default_factory=list)
    landmarks: list[Array] = field(default_factory=list)
    looks: list[NDArray[np.float32]] = field(default_factory=list)
    patches: list[Patch] = field(default_factory=list)
    extras: list[object] = field(default_factory=list)


class BankBuilder:
    """Collects moments while frames pass by.

    Args:
        config: bounds of the bank.
    """

    def __init__(self, config: OwnMouthsConfig | None = None) -> None:
        self._config = config or OwnMouthsConfig()
        self._runs: list[_Run] = []
        self._frames, self._seen = Rows((), np.int64), Rows((2,), np.float64)
        self.shots = Shots()

    def add(
        self,
        index: int,
        image: Image,
        landmarks: Landmarks,
        extra: object = None,
        shot: int = 0,
        pose: HeadPose | None = None,
    ) -> None:
        """One frame that shows the face: its number, which rises, (H, W, 3) uint8 and (68, 2 or 3) landmarks.

        ``extra``: whatever shall be remembered of the moment for as long as the bank keeps it. ``shot``:
        number of its shot in the clip, never falling. ``pose``: of the landmarks, if it is known.
        """
        points = np.asarray(landmarks, np.float64)
        if not np.isfinite(points).all():
            return
        if points.shape[1] == 2:
            points = np.concatenate([points, np.zeros((len(points), 1))], axis=1)
        pose = fit_pose(points[None]) if pose is None else pose
        axes = FaceAxes.of(points, float(pose.scale[0]))
        patch = _patch(image, points, axes)
        if patch is None:
            return
        look, opening = _look(image, points, axes), float(mouth_opening(points[None])[0])
        self._frames.append(index)
        self._seen.append(np.array([_sharpness(image, points, axes), opening]))
        self.shots.add(index, image, points, pose, shot)
        run = self._run_for(index)
        run.frames.append(index)
        run.landmarks.append(points)
        run.looks.append(look)
        run.patches.append(patch)
        run.extras.append(extra)
        if self._too_large():
            self._thin()

    @cached_property
    def sharpness(self) -> FrameSharpness:
        """Of every frame that was added, as :attr:`Bank.sharpness`; asked for once all were."""
        return FrameSharpness(self._frames.take(), compared_at_one_opening(self._seen.take()))

    @property
    def extras(self) -> list[object]:
        """What was remembered of each moment, in order; before :meth:`finish`."""
        return [extra for run in self._runs for extra in run.extras]

    def finish(self) -> Bank | None:
        """The bank; None where no moment was seen. The builder is empty afterwards."""
        runs, self._runs = self._runs, []
        if not runs:
            return None
        frames = np.array([index for run in runs for index in run.frames], np.int64)
        starts = np.cumsum([0, *(len(run.frames) for run in runs[:-1])])
        looks = np.stack([look for run in runs for look in run.looks])
        heads = Heads.of(np.stack([points for run in runs for points in run.landmarks]))
        expressions = heads.expressions()
        follows = np.diff(frames, prepend=-2) == 1
        follows[0] = False
        for start in starts[1:]:
            follows[start] &= self._same_shot(int(frames[start]))
        return Bank(
            frames,
            heads,
            heads.lip_shapes(),
            expressions - np.median(expressions, axis=0),
            looks,
            self.sharpness.of(frames),
            follows,
            [patch for run in runs for patch in run.patches],
        )

    def _run_for(self, index: int) -> _Run:
        """The run that the frame continues, or a new one."""
        last = self._runs[-1] if self._runs else None
        ends = last is not None and len(last.frames) >= self._run_frames(last)
        if last is None or last.frames[-1] != index - 1 or ends or not self._same_shot(index):
            last = _Run()
            self._runs.append(last)
        return last

    def _same_shot(self, index: int) -> bool:
        """Whether a frame and the one before it are of one shot."""
        before, now = self.shots.numbers(np.array([index - 1, index]))
        return bool(before == now)

    def _run_frames(self, run: _Run) -> int:
        """Most frames of a run: a small bank holds several all the same."""
        size = max(patch.picture.nbytes for patch in run.patches)
        fitting = self._config.max_megabytes * 2**20 // (2 * size)
        return max(1, min(RUN_FRAMES, self._config.max_moments // 2, fitting))

    def _too_large(self) -> bool:
        moments = sum(len(run.frames) for run in self._runs)
        if moments > self._config.max_moments:
            return True
        size = sum(patch.picture.nbytes for run in self._runs for patch in run.patches)
        return size > self._config.max_megabytes * 2**20 and len(self._runs) > 1

    def _thin(self) -> None:
        """Keep the runs that differ most: each time the one whose moments lie farthest from those kept.

        Mouths that are drawn aside differ most of all and are of least use: a run's distance is divided by 1
        and its grimaces.
        """
        sizes = [len(run.frames) for run in self._runs]
        heads = Heads.of(np.stack([points for run in self._runs for points in run.landmarks]))
        values = features(heads.lip_shapes(), heads.angles)
        starts = np.cumsum(sizes)[:-1]
        parts = np.split(values, starts)
        expressions = heads.expressions()
        grimace = grimaces(expressions - np.median(expressions, axis=0))
        worth = [1 / (1 + float(part.mean())) for part in np.split(grimace, starts)]
        size = [sum(patch.picture.nbytes for patch in run.patches) for run in self._runs]
        most_moments = _THINNED * self._config.max_moments
        most_bytes = _THINNED * self._config.max_megabytes * 2**20
        spreads = [part.var(axis=0).sum() for part in parts]
        kept = [int(np.argmax(np.multiply(spreads, worth)))]
        nearest = [_nearest(part, parts[kept[0]]) for part in parts]
        while len(kept) < len(parts):
            rest = [i for i in range(len(parts)) if i not in kept]
            best = max(rest, key=lambda i: worth[i] * float(nearest[i].mean()))
            chosen = [*kept, best]
            if sum(sizes[i] for i in chosen) > most_moments or sum(size[i] for i in chosen) > most_bytes:
                break
            kept = chosen
            nearest = [
                np.minimum(old, _nearest(p, parts[best])) for old, p in zip(nearest, parts, strict=True)
            ]
        self._runs = [self._runs[i] for i in sorted(kept)]


def grimaces(expressions: Array) -> Array:
    """(M,) how far expressions (M, 3), less the usual one, are from speech: squared, in units of which one
    is plainly seen."""
    return np.asarray(np.square(expressions / _GRIMACE_UNITS).sum(axis=1))


def head_motion(landmarks: Landmarks) -> Array:
    """(N, 2) pixels by which the mean rigid point moves from the frame before; the first is still."""
    centre = np.asarray(landmarks[:, list(RIGID_UPPER), :2], np.float64).mean(axis=1)
    return np.diff(centre, axis=0, prepend=centre[:1])


def features(shapes: Array, angles: Array) -> Array:
    """(N, 11) in which moments are compared: lip shape and head pose, weighted."""
    return np.concatenate([shapes * SHAPE_WEIGHTS, angles / POSE_TOLERANCES], axis=1)


def _nearest(part: Array, others: Array) -> Array:
    return np.asarray(np.square(part[:, None] - others[None]).sum(axis=-1).min(axis=1))


def _patch(image: Image, points: Array, axes: FaceAxes) -> Patch | None:
    height, width = image.shape[:2]
    face = axes.to_face(points[:, :2])
    mouth = face[[48, 54]].mean(axis=0)
    top, bottom = face[33, 1] - _ABOVE_NOSE, face[CHIN, 1] + _BELOW_CHIN
    sides = [mouth[0] - _HALF_WIDTH, mouth[0] + _HALF_WIDTH]
    corners = axes.to_pixels(np.array([[x, y] for x in sides for y in (top, bottom)]))
    low = np.floor(corners.min(axis=0)).astype(int).clip(min=0)
    high = np.ceil(corners.max(axis=0) + 1).astype(int).clip(max=(width, height))
    if (high - low < 8).any():
        return None
    picture = image[low[1] : high[1], low[0] : high[0]].copy()
    return Patch(picture, (int(low[0]), int(low[1])))


def _look(image: Image, points: Array, axes: FaceAxes) -> NDArray[np.float32]:
    """The mouth in the face's axes at 24 x 14 pixels, mean taken out, in units of 40 levels."""
    small = _upright(image, points, axes, _LOOK_SIZE, _LOOK_SIZE[0] / _LOOK_WIDTH, _LOOK_MOUTH)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return np.asarray((grey - grey.mean()) / _LOOK_LEVELS, np.float32).ravel()


def _sharpness(image: Image, points: Array, axes: FaceAxes) -> float:
    return picture_sharpness(_upright(image, points, axes, _LIPS_SIZE, _LIPS_SCALE, _LIPS_MOUTH))


def _upright(
    image: Image,
    points: Array,
    axes: FaceAxes,
    size: tuple[int, int],
    per_unit: float,
    mouth_at: tuple[float, float],
) -> Image:
    """The mouth resampled into the face's axes, ``per_unit`` pixels to the eye-corner distance."""
    scale = per_unit / axes.unit
    turn = scale * np.stack([axes.along, axes.down])
    mouth = points[[48, 54], :2].mean(axis=0)
    matrix = np.concatenate([turn, (np.array(mouth_at) - turn @ mouth)[:, None]], axis=1)
    # Shrinking by more than two aliases; averaging in between does not.
    finer = 1 if scale >= 0.5 else int(np.ceil(0.5 / scale))
    fine = matrix * finer
    fine[:, 2] += (finer - 1) / 2
    shape = (size[0] * finer, size[1] * finer)
    large = cv2.warpAffine(image, fine, shape, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.resize(large, size, interpolation=cv2.INTER_AREA) if finer > 1 else large, np.uint8)
