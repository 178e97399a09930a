"""Which of two plates a pixel of the mouth follows: upper lip and head, or lower lip and jaw.

The plates agree at the corners and come apart between the lips, where the skin does. Upper teeth are fixed
to the head and lower ones to the jaw, so the rows keep their size whatever the gap does: what is between the
lips goes with the upper plate down to the line at which the rows part (:mod:`common.own_mouths.parting`),
with the lower plate below it. Where a mouth closes, the lower lip covers what the upper plate shows; where it
opens, the darkness at the parting is drawn out.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from common.own_mouths.parting import Parting

Array = NDArray[np.float64]
Map = NDArray[np.float32]

UPPER_EDGE = (60, 61, 62, 63, 64)
LOWER_EDGE = (60, 67, 66, 65, 64)

# Beyond the corners the passage from plate to plate widens by this much per distance from the corner.
_SPREAD = 0.35
# Half width of the passage at a lip's edge, eye-corner distances.
_EDGE = 0.008
_LEAST_HEIGHT = 0.004
# From this height on (twice: wholly) what is drawn out shows as such.
_ROOM = 0.012
_TABLE = 1024


@dataclass(frozen=True)
class Opening:
    """The gap between the lips, as two curves over x in the face's axes.

    Attributes:
        upper, lower: (5, 2) points of the inner lips from corner to corner.
    """

    upper: Array
    lower: Array

    @classmethod
    def of(cls, face: Array) -> Opening:
        """Of 68 points in the face's axes."""
        return cls(face[list(UPPER_EDGE)], face[list(LOWER_EDGE)])

    @property
    def gap(self) -> float:
        """Mean height over the three middle pairs."""
        return float(np.maximum(self.lower[1:-1, 1] - self.upper[1:-1, 1], 0).mean())

    def edges(self, x: Map) -> tuple[Map, Map]:
        """y of the upper and the lower lip's edge above and below each x; constant beyond the corners.

        Where lips are pressed together the lower one lies over the upper one: both edges are its own.
        """
        upper, lower, _, _ = self.edges_and(x, np.zeros(2), np.zeros(2))
        return upper, lower

    def edges_and(self, x: Map, above: Array, below: Array) -> tuple[Map, Map, Map, Map]:
        """:meth:`edges`, and at each x two lists (C,) of values at equal steps from corner to corner."""
        curves = [_Curve.through(side) for side in (self.upper, self.lower)]
        first, last = (f(curve.x[end] for curve in curves) for f, end in ((min, 0), (max, -1)))
        at = np.linspace(first, last, _TABLE)
        left, right = self.upper[[0, -1], 0]
        steps = np.linspace(left, right, len(above))
        columns = [*(curve(at) for curve in curves), *(np.interp(at, steps, v) for v in (above, below))]
        table = np.stack(columns, axis=-1).astype(np.float32)[None]
        # Where the lips part they do so over few pixels, but their edges are smooth: a table that is read
        # between its entries gives them to 1e-5 eye-corner distances.
        places = ((x - first) * ((_TABLE - 1) / (last - first))).astype(np.float32)
        read = cv2.remap(
            table, places, np.zeros_like(places), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        upper, lower, *told = (np.asarray(plane, np.float32) for plane in cv2.split(read))
        return np.minimum(upper, lower), lower, told[0], told[1]

    def beyond(self, x: Map) -> Map:
        """How far x lies outside of the corners; 0 between them."""
        left, right = self.upper[[0, -1], 0]
        return np.asarray(np.maximum(left - x, 0) + np.maximum(x - right, 0), np.float32)


def plate_shares(x: Map, y: Map, new: Opening, shown: float, parting: Parting | None) -> tuple[Map, Map]:
    """Share of the lower plate at each pixel, and how far what is seen there is drawn out; both 0 to 1.

    With s the height below the upper lip's edge and g the new gap: outside of the mouth the share is 0 above
    and 1 below. Between the lips the upper plate reaches down to the parting, s = a, and the lower plate up
    to s = g - b, where a and b are the moment's heights above and below it; between these the share is
    linear, and one line of film is drawn out. Where the mouth closes these two cross: the upper plate then
    reaches to the lower lip's edge in the measure in which it does.

    Args:
        x, y: (h, w) pixels in the face's axes.
        new: the gap as it shall be.
        shown: the gap that the moment shows.
        parting: where its rows part; None: the gap is stretched as a whole.
    """
    nothing = np.zeros(2)
    rows = (nothing, nothing) if parting is None else (parting.above, parting.below)
    upper, lower, above, below = new.edges_and(x, *rows)
    beyond = new.beyond(x)
    soft = _SPREAD * beyond
    height = np.maximum(lower - upper, 0)
    linear = np.clip((y - upper + soft) / np.maximum(height + 2 * soft, _LEAST_HEIGHT), 0, 1)
    at_edge = np.clip(0.5 + (y - lower) / (2 * _EDGE), 0, 1)
    closing = float(np.clip((shown - new.gap) / max(0.15 * shown, 1e-3), 0, 1))
    drawn_out = np.zeros_like(x)
    if parting is None:
        opening = linear
    else:
        # A column that is lower than the moment's shows as much less of both.
        fitting = np.minimum(height / np.maximum(above + below, 1e-6), 1)
        above, below = fitting * above, fitting * below
        room = height - above - below
        depth = y - upper - above
        opening = np.clip(depth / np.maximum(room, 2 * _EDGE), 0, 1)
        if closing < 1 and room.max() > _ROOM:
            # Plates are known to about a pixel, and the line is hardly wider: it is dark up to its rim.
            inner = np.clip(1 + np.minimum(depth, room - depth) / _EDGE, 0, 1)
            drawn_out = (1 - closing) * inner * np.clip(room / _ROOM - 1, 0, 1)
            drawn_out[beyond > 0] = 0
    between = closing * at_edge + (1 - closing) * opening
    share = np.where(beyond > 0, linear, between)
    return np.asarray(share, np.float32), np.asarray(drawn_out, np.float32)


@dataclass(frozen=True)
class _Curve:
    """Cubic pieces through points without overshoot (Fritsch and Carlson), constant beyond the ends.

    As `scipy.interpolate.PchipInterpolator`, which takes longer to make than to use for so few points.

    Attributes:
        x, y, slope: (P,) of the points, x rising.
    """

    x: Array
    y: Array
    slope: Array

    @classmethod
    def through(cls, points: Array) -> _Curve:
        """Through points (P, 2), P > 2, in any order."""
        order = np.argsort(points[:, 0], kind="stable")
        xs, ys = points[order, 0], points[order, 1]
        # Landmarks of a mouth seen from the side may share a column.
        xs = np.maximum.accumulate(xs + 1e-6 * np.arange(len(xs)))
        step = np.diff(xs)
        rise = np.diff(ys) / step
        slope = np.zeros(len(xs))
        # Inside: the weighted harmonic mean of the rises on both sides, 0 at a turn.
        same = rise[1:] * rise[:-1] > 0
        left, right = 2 * step[1:] + step[:-1], step[1:] + 2 * step[:-1]
        before, after = rise[:-1][same], rise[1:][same]
        slope[1:-1][same] = (left + right)[same] / (left[same] / before + right[same] / after)
        slope[0] = _end_slope(step[0], step[1], rise[0], rise[1])
        slope[-1] = _end_slope(step[-1], step[-2], rise[-1], rise[-2])
        return cls(xs, ys, slope)

    def __call__(self, at: Array) -> Array:
        at = np.clip(at, self.x[0], self.x[-1])
        piece = np.clip(np.searchsorted(self.x, at, side="right") - 1, 0, len(self.x) - 2)
        step = np.diff(self.x)[piece]
        t = (at - self.x[piece]) / step
        start, end = self.y[piece], self.y[piece + 1]
        bend = step * ((1 - t) * self.slope[piece] - t * self.slope[piece + 1])
        return np.asarray(start + (end - start) * t * t * (3 - 2 * t) + t * (1 - t) * bend)


def _end_slope(near: float, far: float, rise: float, next_rise: float) -> float:
    """Of the outer point by three points, held so that the curve keeps its direction."""
    slope = ((2 * near + far) * rise - near * next_rise) / (near + far)
    if slope * rise <= 0:
        return 0.0
    return 3 * rise if rise * next_rise < 0 and abs(slope) > 3 * abs(rise) else slope
