"""The head in its own coordinates, and the way from there to the picture.

Head coordinates: x to the right of the picture, y down, z towards the viewer; the eyes lie at y = 0 and
one unit is about half the width of the face (some 70 mm).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np

from common.rendered.visemes import MouthShape

_PIVOT = np.array([0.0, 0.55, -0.35])  # the head turns about the top of the neck
_CAMERA_DISTANCE = 9.0


@dataclass(frozen=True)
class FaceShape:
    """Proportions of one person in head units; `mouth_gap` is the widest gap between the inner lips."""

    cheek_width: float
    jaw_width: float
    chin_width: float
    chin_y: float
    eye_x: float
    eye_width: float
    eye_height: float
    eye_tilt: float
    brow_y: float
    brow_arch: float
    nose_y: float
    nose_width: float
    mouth_y: float
    mouth_width: float
    mouth_gap: float
    mouth_curve: float
    upper_lip: float
    lower_lip: float


@dataclass(frozen=True)
class Pose:
    """Where the head is: rotation (3, 3), picture position of the pivot in px, px per head unit."""

    rotation: np.ndarray
    origin: np.ndarray
    unit: float

    def project(self, points: np.ndarray) -> np.ndarray:
        """Head points (n, 3) -> picture (n, 3): x, y in px and depth in px (smaller = nearer)."""
        turned = (points - _PIVOT) @ self.rotation.T
        zoom = self.unit / (1.0 - turned[:, 2:] / _CAMERA_DISTANCE)
        return np.concatenate([turned[:, :2] * zoom + self.origin, -turned[:, 2:] * self.unit], axis=1)


def make_pose(yaw: float, pitch: float, roll: float, centre: tuple[float, float], unit: float) -> Pose:
    """Pose from angles in radians (positive: to the right, down, clockwise) and the pivot's place in px."""
    cy, sy, cp, sp, cr, sr = (f(a) for a in (yaw, pitch, roll) for f in (np.cos, np.sin))
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return Pose(about_z @ about_x @ about_y, np.asarray(centre, dtype=np.float64), float(unit))


def surface_depth(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """z of the face's surface (an ellipsoid) over x, y."""
    return 1.05 * np.sqrt(np.maximum(0.02, 1.0 - (x / 1.15) ** 2 - ((y - 0.15) / 2.1) ** 2))


def lift(points: np.ndarray, bump: float | np.ndarray = 0.0) -> np.ndarray:
    """Put flat points (n, 2) on the surface of the face, raised by `bump`: (n, 3)."""
    points = np.asarray(points, dtype=np.float64)
    z = surface_depth(points[:, 0], points[:, 1]) + bump
    return np.concatenate([points, z[:, None]], axis=1)


@cache
def _spline_basis(count: int, per_segment: int, closed: bool) -> np.ndarray:
    """Weights (m, count) of the control points in the points of a Catmull-Rom curve."""
    t = np.arange(per_segment) / per_segment
    pieces = 0.5 * np.stack(
        [2 * t**2 - t - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2], axis=1
    )
    segments = count if closed else count - 1
    basis = np.zeros((segments * per_segment + (not closed), count))
    for segment in range(segments):
        rows = slice(segment * per_segment, (segment + 1) * per_segment)
        for piece, index in enumerate(range(segment - 1, segment + 3)):
            if closed or 0 <= index < count:
                basis[rows, index % count] += pieces[:, piece]
            elif index < 0:  # beyond the ends the curve goes straight on
                basis[rows, 0] += 2 * pieces[:, piece]
                basis[rows, 1] -= pieces[:, piece]
            else:
                basis[rows, -1] += 2 * pieces[:, piece]
                basis[rows, -2] -= pieces[:, piece]
    if not closed:
        basis[-1, -1] = 1.0
    return basis


def spline(points: np.ndarray, per_segment: int = 6, closed: bool = False) -> np.ndarray:
    """Catmull-Rom curve through `points` (n, d) with `per_segment` points between each two of them."""
    return _spline_basis(len(points), per_segment, closed) @ points


def mirror(points: np.ndarray) -> np.ndarray:
    """The same points on the other side of the face, in the same order."""
    return np.asarray(points, dtype=np.float64) * np.array([-1.0, *([1.0] * (np.shape(points)[1] - 1))])


@dataclass(frozen=True)
class MouthGeometry:
    """Lips in head units: outer (12, 3) and inner (8, 3) in the order of iBUG 48..67.

    gap: between the middles of the inner lips. drop: how far the jaw has come down. corner: half the width.
    """

    outer: np.ndarray
    inner: np.ndarray
    gap: float
    drop: float
    corner: float


# Across (-1..1 of the half width) and height (share of the lip's thickness) of the outer points, 48..59.
_OUTER = np.array(
    [
        *((-1.0, 0.0), (-0.62, 0.66), (-0.26, 1.0), (0.0, 0.84), (0.26, 1.0), (0.62, 0.66), (1.0, 0.0)),
        *((0.62, 0.66), (0.28, 0.97), (0.0, 1.0), (-0.28, 0.97), (-0.62, 0.66)),
    ]
)
_INNER_X = np.array([-1.0, -0.5, 0.0, 0.5, 1.0, 0.5, 0.0, -0.5])
# The upper lip takes a quarter of the gap, the lower lip with the jaw the rest.
_INNER_SIDE = np.array([0.0, -0.24, -0.24, -0.24, 0.0, 0.76, 0.76, 0.76])
_OUTER_SIDE = np.array([-0.24] * 7 + [0.76] * 5)


def mouth_geometry(face: FaceShape, shape: MouthShape) -> MouthGeometry:
    """Contours of the lips. At `open` 0 upper and lower inner points coincide exactly: the gap is 0."""
    gap = face.mouth_gap * shape.open * (1.0 - 0.25 * shape.round)
    corner = face.mouth_width * (1 + 0.20 * shape.spread) * (1 - 0.42 * shape.round) * (1 - 0.07 * shape.open)
    inner_corner = corner * (0.86 - 0.14 * shape.round)
    upper = face.upper_lip * (1 - 0.15 * shape.spread + 0.22 * shape.round) * (1 - 0.42 * shape.press)
    lower = face.lower_lip * (1 - 0.15 * shape.spread + 0.22 * shape.round) * (1 - 0.42 * shape.press)
    lower *= 1 - 0.45 * shape.tuck
    corner_y = face.mouth_y - face.mouth_curve - 0.035 * shape.spread + 0.30 * gap * (1 - shape.spread * 0.5)
    fullness = 0.72 - 0.22 * shape.round

    centre = face.mouth_y - corner_y
    inner_x = _INNER_X * inner_corner
    inner_y = corner_y + (centre + _INNER_SIDE * gap) * (1 - _INNER_X**2) ** fullness
    inner = np.stack([inner_x, inner_y], axis=1)
    outer_x = _OUTER[:, 0] * corner
    profile = (1 - np.minimum(np.abs(outer_x) / inner_corner, 1.0) ** 2) ** fullness
    thickness = np.concatenate([-upper * _OUTER[:7, 1], lower * _OUTER[7:, 1]])
    outer = np.stack([outer_x, corner_y + (centre + _OUTER_SIDE * gap) * profile + thickness], axis=1)
    pout = 0.04 + 0.13 * shape.round - 0.03 * shape.press
    outer3 = lift(outer, pout * (1 - (outer[:, 0] / corner) ** 2))
    inner3 = lift(inner, pout * (1 - (inner[:, 0] / corner) ** 2))
    return MouthGeometry(outer3, inner3, gap, 0.55 * gap, corner)


@lru_cache(maxsize=64)
def jaw_outline(face: FaceShape, drop: float) -> np.ndarray:
    """The 17 points from ear to ear under the chin, (17, 3); above the nose's base they ignore the jaw."""
    control = np.array(
        [
            (face.cheek_width, -0.10),
            (face.cheek_width * 0.97, 0.50),
            (face.jaw_width, 1.10),
            (face.chin_width, face.chin_y - 0.07),
            (0.0, face.chin_y),
        ]
    )
    curve = spline(control, 12)
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))])
    at = np.linspace(0, length[-1], 9)
    half = np.stack([np.interp(at, length, curve[:, i]) for i in (0, 1)], axis=1)
    hinge = face.nose_y + 0.10
    share = np.clip((half[:, 1] - hinge) / (face.chin_y - hinge), 0.0, 1.0)
    half[:, 1] += drop * share**1.2
    half[:, 0] *= 1 - 0.06 * drop * share
    left = mirror(half)
    points = np.concatenate([left, half[7::-1]])
    # The outline is where the surface turns away: from the ears (far) to the chin (near).
    depth = 0.10 + 0.55 * np.clip(points[:, 1] / face.chin_y, 0.0, 1.0) ** 2
    outline = np.concatenate([points, depth[:, None]], axis=1)
    outline.setflags(write=False)  # one array serves all callers
    return outline


def eye_outline(face: FaceShape, blink: float) -> np.ndarray:
    """The picture-right eye from inner to outer corner: the 6 iBUG points 42..47 as (6, 3)."""
    w, h = face.eye_width, face.eye_height
    upper, lower = h * (1 - blink) - 0.35 * h * blink, 0.62 * h
    points = np.array(
        [(-w, 0.02), (-0.38 * w, -upper), (0.42 * w, -upper), (w, 0.0), (0.42 * w, lower), (-0.38 * w, lower)]
    )
    points[:, 1] -= face.eye_tilt * points[:, 0]
    return lift(points + np.array([face.eye_x, 0.0]), -0.08)


def brow_line(face: FaceShape, raise_: float) -> np.ndarray:
    """The picture-right brow from the inner end outwards: the 5 iBUG points 22..26 as (5, 3)."""
    x = face.eye_x + np.linspace(-1.15, 1.25, 5) * face.eye_width
    arch = np.array([0.0, -0.6, -1.0, -0.8, 0.1]) * face.brow_arch
    return lift(np.stack([x, face.brow_y + arch - raise_], axis=1))


def head_landmarks(face: FaceShape, mouth: MouthGeometry, blink: float, brow_raise: float) -> np.ndarray:
    """The 68 iBUG points in head units, (68, 3)."""
    brow, eye = brow_line(face, brow_raise), eye_outline(face, blink)
    bridge_y = np.linspace(0.02, face.nose_y - 0.12, 4)
    bridge = lift(np.stack([np.zeros(4), bridge_y], axis=1), np.linspace(0.02, 0.34, 4))
    base_x = np.linspace(-1, 1, 5) * face.nose_width
    base = lift(np.stack([base_x, face.nose_y + np.array([-0.04, 0.0, 0.03, 0.0, -0.04])], axis=1))
    base[:, 2] += np.array([0.04, 0.12, 0.20, 0.12, 0.04])
    left_eye = mirror(eye)[[3, 2, 1, 0, 5, 4]]
    return np.concatenate(
        [
            jaw_outline(face, mouth.drop),
            mirror(brow)[::-1],
            brow,
            bridge,
            base,
            left_eye,
            eye,
            mouth.outer,
            mouth.inner,
        ]
    )
