"""A window of the picture with soft-edged fills and strokes."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

_SHIFT = 4  # sub-pixel bits of cv2's integer coordinates
_SMALL_AREA = 12_000

Box = tuple[int, int, int, int]


@dataclass
class Canvas:
    """Pixels [y0, y0+h) x [x0, x0+w) of the picture; all coordinates are those of the whole picture.

    rgb (3, h, w) float32, 0..255: planes, because a mask multiplies them several times faster than pixels.
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

    def _box(self, points: np.ndarray, margin: float) -> Box | None:
        """Rows and columns of the window that `points` and a margin touch: (left, top, right, bottom)."""
        h, w = self.shape
        low, high = points.min(axis=0), points.max(axis=0)
        left = max(int(np.floor(low[0] - margin)) - self.x0, 0)
        top = max(int(np.floor(low[1] - margin)) - self.y0, 0)
        right = min(int(np.ceil(high[0] + margin)) + 1 - self.x0, w)
        bottom = min(int(np.ceil(high[1] + margin)) + 1 - self.y0, h)
        return (left, top, right, bottom) if right > left and bottom > top else None

    def mask(
        self, points: np.ndarray, *, width: float | None = None, feather: float = 0.0, closed: bool = True
    ) -> tuple[Box, np.ndarray] | None:
        """Coverage 0..1 of a polygon (or, with `width` in px, of a line along it) in its own box of the window.

        `feather`: sigma of a blur of the edge in px. None where nothing falls into the window.
        """
        points = np.asarray(points, dtype=np.float64)[:, :2]
        box = self._box(points, 2 + 3 * feather + (width or 0.0))
        if box is None:
            return None
        left, top, right, bottom = box
        scale = 4 if (right - left) * (bottom - top) < _SMALL_AREA else 2
        fine = np.zeros(((bottom - top) * scale, (right - left) * scale), np.uint8)
        local = (points - [left + self.x0, top + self.y0] + 0.5) * scale - 0.5
        fixed = np.round(np.clip(local, -20_000, 20_000) * (1 << _SHIFT)).astype(np.int32)
        if width is None:
            cv2.fillPoly(fine, [fixed], 255, lineType=cv2.LINE_8, shift=_SHIFT)
        else:
            thickness = max(1, round(width * scale))
            cv2.polylines(fine, [fixed], closed, 255, thickness, cv2.LINE_AA, _SHIFT)
        coverage = cv2.resize(fine, (right - left, bottom - top), interpolation=cv2.INTER_AREA)
        alpha = coverage.astype(np.float32) * np.float32(1 / 255)
        if feather > 0:
            # A fixed aperture of 3 sigma on either side: beyond it the blur changes nothing at all.
            aperture = 2 * int(np.ceil(2.5 * feather)) + 1
            alpha = cv2.GaussianBlur(alpha, (aperture, aperture), feather, borderType=cv2.BORDER_CONSTANT)
        return box, alpha

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
        points: np.ndarray,
        colour: np.ndarray,
        *,
        opacity: float = 1.0,
        feather: float = 0.0,
        light: np.ndarray | None = None,
    ) -> None:
        covered = self.mask(points, feather=feather)
        if covered is not None:
            self.blend(*covered, colour, opacity, light)

    def stroke(
        self,
        points: np.ndarray,
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
        covered = self.mask(points, width=width, feather=feather, closed=closed)
        if covered is not None:
            self.blend(*covered, colour, opacity)


def intersect(first: tuple[Box, np.ndarray], second: tuple[Box, np.ndarray]) -> tuple[Box, np.ndarray] | None:
    """The product of two masks on the box they share."""
    (al, at, ar, ab), a = first
    (bl, bt, br, bb), b = second
    left, top, right, bottom = max(al, bl), max(at, bt), min(ar, br), min(ab, bb)
    if right <= left or bottom <= top:
        return None
    inside = (
        a[top - at : bottom - at, left - al : right - al] * b[top - bt : bottom - bt, left - bl : right - bl]
    )
    return (left, top, right, bottom), inside


def ellipse(
    centre: np.ndarray, radius_x: float, radius_y: float, angle: float = 0.0, count: int = 28
) -> np.ndarray:
    """Points (count, 2) on an ellipse turned by `angle` radians."""
    t = np.linspace(0, 2 * np.pi, count, endpoint=False)
    x, y = radius_x * np.cos(t), radius_y * np.sin(t)
    c, s = np.cos(angle), np.sin(angle)
    return np.stack([c * x - s * y, s * x + c * y], axis=1) + np.asarray(centre)[:2]
