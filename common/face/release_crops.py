"""The crop rule of the public X-Dub release (R), for weights that learnt to see faces through it.

The release smooths the landmarks of the whole clip, takes a square about them and a forehead point, and then
decides how free that square is: one square for the clip where the head stays in place (mode 1), one size
where the head moves but keeps its size (mode 2), or a square of its own for every frame (mode 3). Squares lie
inside the picture and have integer corners. The default crops of this project
(:mod:`common.face.crops`) follow the head instead.

TBDub plans its squares by the same code without the first filter, about the 478 points of MediaPipe's mesh
and no forehead of its own. These points reach as far as the 68 to the sides and below, and above as far as
:data:`TBDUB_SQUARES` says.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from common.face.crops import CropTrack, Part
from common.face.track import FaceTrack
from common.face.types import ImageArray

Array = NDArray[np.float64]

_FACTOR = 1.45
"""Side of the square over the larger extent of landmarks and forehead."""
_STILL, _GAIN, _OFFSET = 0.1, 600.0, 3.0
"""The adaptive filter: share of the way that a still point goes, and how soon a moving one goes all of it."""
_LANDMARK_WINDOWS = (15, 19, 23, 27, 31)
_EDGE_SHARE, _SIZE_SHARE = 0.16, 0.10
"""Mode 1: every edge within this share of the union's width or height. Mode 2: every side within this share
of the mean."""


@dataclass(frozen=True)
class SquareRule:
    """How faces become squares.

    Attributes:
        forehead: how far above the inner eye corners the forehead reaches, in distances from the jaw to them.
        holds_still: whether landmarks pass the filter that holds still ones.
    """

    forehead: float
    holds_still: bool


XDUB_SQUARES = SquareRule(1.1, True)
TBDUB_SQUARES = SquareRule(0.8, False)
""".8: where the mesh ends above, in nine filmed clips at .68 to .95, median .80."""


@dataclass(frozen=True)
class ReleaseCrops:
    """The squares of one clip.

    Attributes:
        boxes: (N, 4) int64 x0, y0, x1, y1 in pixels: ``image[y0:y1, x0:x1]``.
        mode: 1 one square, 2 one size, 3 free.
        faces: (N, 4) squares about the face of each frame, from which the others are planned.
    """

    boxes: NDArray[np.int64]
    mode: int
    faces: Array


def plan_release_crops(
    landmarks: NDArray[np.floating], width: int, height: int, rule: SquareRule = XDUB_SQUARES
) -> ReleaseCrops:
    """The squares that the release cuts from a clip.

    Args:
        landmarks: (N, 68, 2 or more) pixels, one face in every frame.
        width, height: of the picture, pixels.
        rule: of the release.

    Raises:
        ValueError: a landmark is not finite, or there is no frame.
    """
    points = np.asarray(landmarks, np.float64)[..., :2]
    if not len(points) or not np.isfinite(points).all():
        raise ValueError("release crops need landmarks in every frame of the run")
    if rule.holds_still:
        shares = smooth_landmarks(points, width, height)
    else:
        shares = points / np.array([width, height], np.float64)
    boxes = moving_average(_face_boxes(shares, width, height, rule.forehead), 7)
    mode = _mode(boxes)
    plan = {1: _fixed, 2: _one_size, 3: _free}[mode]
    return ReleaseCrops(_integer(plan(boxes, width, height), width, height), mode, boxes)


def smooth_landmarks(points: Array, width: int, height: int) -> Array:
    """First step of the release: a filter forward in time that holds still points and follows fast ones.

    Args:
        points: (N, P, 2) pixels.

    Returns:
        (N, P, 2) as shares of width and height.
    """
    shares = points / np.array([width, height], np.float64)
    smoothed = shares.copy()
    for last, now in pairwise(smoothed):
        change = now - last
        # Overflow of the exponential means a point that hardly moves.
        gain = _STILL + (1 - _STILL) / (np.exp(_OFFSET - _GAIN * np.abs(change)) + 1)
        now[:] = last + gain * change
    return smoothed


def _face_boxes(shares: Array, width: int, height: int, reach: float) -> Array:
    """(N, 4) squares about landmarks and forehead, inside the picture, before the moving average."""
    for window in _LANDMARK_WINDOWS:
        shares = _savgol(shares, window, "mirror")
    shares = moving_average(moving_average(shares, 17), 7)
    eyes = (shares[:, 39] + shares[:, 42]) / 2
    jaw = (shares[:, 3] + shares[:, 13]) / 2
    forehead = eyes + reach * (eyes - jaw)
    picture = np.array([width, height], np.float64)
    points = np.clip(np.concatenate([shares, forehead[:, None]], axis=1) * picture, 0, picture)
    low, high = points.min(axis=1), points.max(axis=1)
    sides = np.minimum(_FACTOR * (high - low).max(axis=1), min(width, height))
    return _inside((low + high) / 2, sides, width, height)


def _mode(boxes: Array) -> int:
    union = _union(boxes)
    extent = union[2:] - union[:2]
    if (np.abs(boxes - union) <= _EDGE_SHARE * np.tile(extent, 2)).all():
        return 1
    sides = boxes[:, 2] - boxes[:, 0]
    return 2 if (np.abs(sides - sides.mean()) <= _SIZE_SHARE * sides.mean()).all() else 3


def _fixed(boxes: Array, width: int, height: int) -> Array:
    union = _union(moving_average(boxes, 5))
    side = min((union[2:] - union[:2]).max(), width, height)
    one = _inside((union[:2] + union[2:])[None] / 2, np.array([side]), width, height)
    return np.repeat(one, len(boxes), axis=0)


def _one_size(boxes: Array, width: int, height: int) -> Array:
    boxes = moving_average(boxes, 5)
    centers = moving_average((boxes[:, :2] + boxes[:, 2:]) / 2, 15)
    centers = _averaged(_savgol(centers, 25, "nearest"), (11, 7, 3))
    side = min((boxes[:, 2:] - boxes[:, :2]).max(), width, height)
    return _inside(centers, np.full(len(boxes), side), width, height)


def _free(boxes: Array, width: int, height: int) -> Array:
    boxes = _averaged(_savgol(_averaged(boxes, (5, 11)), 25, "nearest"), (7, 3))
    sides = moving_average((boxes[:, 2:] - boxes[:, :2]).min(axis=1), 11)
    sides = moving_average(_savgol(sides, 25, "nearest"), 7)
    corners = ((boxes[:, :2] + boxes[:, 2:]) - sides[:, None]) / 2
    corners = corners.clip(min=0)
    left = (np.array([width, height], np.float64) - corners).min(axis=1)
    sides = np.minimum(sides, left)
    squares = _averaged(np.concatenate([corners, corners + sides[:, None]], axis=1), (11, 7, 3))
    return squares.clip(0, np.array([width, height, width, height], np.float64))


def _integer(boxes: Array, width: int, height: int) -> NDArray[np.int64]:
    corners = np.concatenate([np.floor(boxes[:, :2]), np.ceil(boxes[:, 2:])], axis=1)
    return corners.clip(0, [width, height, width, height]).astype(np.int64)


def _union(boxes: Array) -> Array:
    return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])


def _inside(centers: Array, sides: Array, width: int, height: int) -> Array:
    """Squares (N, 4) of these sides about these centres, moved into the picture."""
    room = np.array([width, height], np.float64) - sides[:, None]
    corners = np.clip(centers - sides[:, None] / 2, 0, room)
    return np.concatenate([corners, corners + sides[:, None]], axis=1)


def _averaged(values: Array, windows: tuple[int, ...]) -> Array:
    for window in windows:
        values = moving_average(values, window)
    return values


def moving_average(values: Array, window: int) -> Array:
    """Mean over ``window // 2`` frames on either side (axis 0), fewer at the ends."""
    half, count = window // 2, len(values)
    sums = np.concatenate([np.zeros_like(values[:1]), np.cumsum(values, axis=0)])
    at = np.arange(count)
    first, stop = np.maximum(at - half, 0), np.minimum(at + half + 1, count)
    return np.asarray((sums[stop] - sums[first]) / (stop - first).reshape(-1, *(1,) * (values.ndim - 1)))


def _savgol(values: Array, window: int, ends: str) -> Array:
    """Savitzky-Golay of order 2 over time; the window is odd and at most the clip's length."""
    from scipy.signal import savgol_filter  # a quarter of a second, for the release's packages alone

    window = min(window, len(values) - 1 + len(values) % 2)
    return values if window < 3 else np.asarray(savgol_filter(values, window, 2, axis=0, mode=ends))


@dataclass(frozen=True)
class ReleaseCropTrack(CropTrack):
    """Squares with integer corners, cut out and resampled as the release does.

    Attributes:
        boxes: (N, 4) int64 x0, y0, x1, y1; the rows of frames without a face mean nothing. Width and height
            may differ by a pixel.
    """

    boxes: NDArray[np.int64]

    def __getitem__(self, part: slice) -> ReleaseCropTrack:
        return ReleaseCropTrack(self.centers[part], self.sizes[part], self.boxes[part])

    def matrix(self, index: int, out_size: int) -> Array:
        """(2, 3) affine matrix from source pixels to pixels of the crop; errors as in the base."""
        if not self.present[index]:
            raise ValueError(f"frame {index} has no face and so no crop")
        x0, y0, x1, y1 = self.boxes[index].tolist()
        across, down = out_size / (x1 - x0), out_size / (y1 - y0)
        # Pixel edges meet: x + 1/2 scales, not x.
        return np.array(
            [[across, 0, (0.5 - x0) * across - 0.5], [0, down, (0.5 - y0) * down - 0.5]], np.float64
        )

    def extract(self, image: ImageArray, index: int, out_size: int, part: Part | None = None) -> ImageArray:
        """Crop of frame ``index``: PIL's bilinear filter, which averages when it shrinks (R)."""
        from PIL import Image

        x0, y0, x1, y1 = self.boxes[index].tolist()
        cut = Image.fromarray(np.ascontiguousarray(image[y0:y1, x0:x1]))
        crop = np.asarray(cut.resize((out_size, out_size), Image.Resampling.BILINEAR))
        return crop if part is None else crop[part]


def release_crop_track(
    track: FaceTrack, width: int, height: int, rule: SquareRule = XDUB_SQUARES
) -> ReleaseCropTrack:
    """The release's squares for every run of frames with a face.

    Args:
        track: face of the clip.
        width, height: of the picture, pixels.
        rule: of the release.
    """
    boxes = np.zeros((len(track), 4), np.int64)
    known = np.zeros(len(track), bool)
    for run in track.segments():
        boxes[run] = plan_release_crops(track.landmarks[run], width, height, rule).boxes
        known[run] = True
    low, high = boxes[:, :2].astype(np.float64), boxes[:, 2:].astype(np.float64)
    centers = np.where(known[:, None], (low + high - 1) / 2, np.nan)
    sizes = np.where(known, (high - low).max(axis=1), np.nan)
    return ReleaseCropTrack(centers, sizes, boxes)
