"""A window of the picture with soft-edged fills and strokes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from math import ceil, floor

import cv2
import numpy as np

_SHIFT = 4  # sub-pixel bits of cv2's integer coordinates
_SMALL_AREA = 12_000

_FAR = 1 << 22

Box = tuple[int, int, int, int]
Mask = tuple[Box, np.ndarray]
Shapes = np.ndarray | Sequence[np.ndarray]


@dataclass
class Canvas:
    """Pixels [y0, y0+h) x [x0, x0+w) of the picture; all coordinates are those of the whole picture.

    rgb (3, h, w) float32, 0..255: planes, because a mask multiplies them much faster than pixels.
    `trace`: where given, (h, w) float32 that collects the coverage of what is drawn.
    Integer coordinates are pixel centres.
    """

    x0: int
    y0: int
    rgb: np.ndarray
    trace: np.ndarray | None = field(default=None)

    @property
    def shape(self) -> tuple[int, int]:
        return self.rgb.shape[1], self.rgb.shape[2]

    def grid(self) -> tuple[np.ndarray, np.ndarray]:
        """x (w,) and y (h,) of the pixel centres."""
        h, w = self.shape
        return np.arange(self.x0, self.x0 + w, dtype=np.float32), np.arange(
            self.y0, self.y0 + h, dtype=np.float32
        )

    def copy(self) -> Canvas:
        return Canvas(self.x0, self.y0, self.rgb.copy())

    def mask(
        self, shapes: Shapes, *, width: float | None = None, feather: float = 0.0, closed: bool = True
    ) -> Mask | None:
        """Coverage 0..1 of polygons (or, with `width` in px, of lines along them) in a box of the window.

        `shapes`: px (n, 2), or several of them drawn as one. `feather`: sigma of a blur of the edge in px.
        None where nothing falls into the window.
        """
        polygons = [shapes] if isinstance(shapes, np.ndarray) else list(shapes)
        if not polygons:
            return None
        points = polygons[0] if len(polygons) == 1 else np.concatenate(polygons)
        h, w = self.shape
        margin = 2 + 3 * feather + (width or 0.0)
        (low_x, low_y), (high_x, high_y) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
        left, top = max(floor(low_x - margin) - self.x0, 0), max(floor(low_y - margin) - self.y0, 0)
        right, bottom = (
            min(ceil(high_x + margin) + 1 - self.x0, w),
            min(ceil(high_y + margin) + 1 - self.y0, h),
        )
        if right <= left or bottom <= top:
            return None
        scale = 4 if (right - left) * (bottom - top) < _SMALL_AREA else 2
        fine = np.zeros(((bottom - top) * scale, (right - left) * scale), np.uint8)
        fixed_scale = scale * (1 << _SHIFT)
        offset = (
            np.array([left + self.x0, top + self.y0]) * fixed_scale
            - 0.5 * (fixed_scale - (1 << _SHIFT))
            - 0.5
        )
        fixed = (points * fixed_scale - offset).clip(-_FAR, _FAR).astype(np.int32)
        ends = list(accumulate(len(polygon) for polygon in polygons))
        pieces = [fixed[start:end] for start, end in zip([0, *ends], ends, strict=False)]
        if width is None:
            for piece in pieces:  # one by one: a joint fill would leave holes where two overlap
                cv2.fillPoly(fine, [piece], (255,), lineType=cv2.LINE_8, shift=_SHIFT)
        else:
            cv2.polylines(fine, pieces, closed, (255,), max(1, round(width * scale)), cv2.LINE_8, _SHIFT)
        coverage = cv2.resize(fine, (right - left, bottom - top), interpolation=cv2.INTER_AREA)
        alpha = np.multiply(coverage, np.float32(1 / 255), dtype=np.float32)
        if feather > 0:
            # A fixed aperture: beyond it the blur changes nothing at all.
            aperture = 2 * ceil(2.5 * feather) + 1
            blurred = cv2.GaussianBlur(alpha, (aperture, aperture), feather, borderType=cv2.BORDER_CONSTANT)
            alpha = np.asarray(blurred, dtype=np.float32)
        return (left, top, right, bottom), alpha

    def blend(
        self,
        box: Box,
        alpha: np.ndarray,
        colour: np.ndarray,
        opacity: float = 1.0,
        light: np.ndarray | None = None,
    ) -> None:
        """Lay `colour` ((3,) or the window's (3, h, w)) over the box with coverage `alpha`.

        `light`: brightness factor (h, w) of the window that multiplies the colour.
        """
        left, top, right, bottom = box
        target = self.rgb[:, top:bottom, left:right]
        paint = np.asarray(colour, dtype=np.float32)
        paint = paint[:, top:bottom, left:right] if paint.ndim == 3 else paint[:, None, None]
        if light is not None:
            paint = paint * light[top:bottom, left:right]
        difference = paint - target
        difference *= alpha
        if opacity != 1.0:
            difference *= np.float32(opacity)
        target += difference
        if self.trace is not None:
            trace = self.trace[top:bottom, left:right]
            trace += (1.0 - trace) * alpha * np.float32(opacity)

    def fill(
        self,
        shapes: Shapes,
        colour: np.ndarray,
        *,
        opacity: float = 1.0,
        feather: float = 0.0,
        light: np.ndarray | None = None,
    ) -> None:
        covered = self.mask(shapes, feather=feather)
        if covered is not None:
            self.blend(*covered, colour, opacity, light)

    def stroke(
        self,
        shapes: Shapes,
        width: float,
        colour: np.ndarray,
        *,
        opacity: float = 1.0,
        feather: float = 0.0,
        closed: bool = False,
    ) -> None:
        """Draw a line of `width` px with round ends; below a quarter pixel it fades instead of thinning."""
        if width < 0.25:
            opacity, width = opacity * width / 0.25, 0.25
        covered = self.mask(shapes, width=width, feather=feather, closed=closed)
        if covered is not None:
            self.blend(*covered, colour, opacity)


def intersect(first: Mask | None, second: Mask | None) -> Mask | None:
    """The product of two masks on the box they share; None where there is none."""
    if first is None or second is None:
        return None
    (al, at, ar, ab), a = first
    (bl, bt, br, bb), b = second
    left, top, right, bottom = max(al, bl), max(at, bt), min(ar, br), min(ab, bb)
    if right <= left or bottom <= top:
        return None
    inside = (
        a[top - at : bottom - at, left - al : right - al] * b[top - bt : bottom - bt, left - bl : right - bl]
    )
    return (left, top, right, bottom), inside


_CIRCLES: dict[int, np.ndarray] = {}


def ellipse(
    centre: np.ndarray, radius_x: float, radius_y: float, angle: float = 0.0, count: int = 28
) -> np.ndarray:
    """Points (count, 2) on an ellipse turned by `angle` radians."""
    if count not in _CIRCLES:
        t = np.linspace(0, 2 * np.pi, count, endpoint=False)
        _CIRCLES[count] = np.stack([np.cos(t), np.sin(t)], axis=1)
    points = _CIRCLES[count] * (radius_x, radius_y)
    if angle:
        c, s = np.cos(angle), np.sin(angle)
        points = points @ np.array([[c, s], [-s, c]])
    return points + np.asarray(centre)[:2]
