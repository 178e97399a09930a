"""Where the rows of teeth of an open mouth part, and what is seen between them when it opens further."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

Array = NDArray[np.float64]
Picture = NDArray[np.float32]

INSIDE_SIZE = (32, 24)
"""Columns and rows of the rectified inside of a mouth."""

# The line keeps away from the lips: a shadow below the upper lip is no parting, its teeth hang from there.
_HIGHEST, _LOWEST = 0.25, 0.88
# From column to column it moves by at most so many rows; each costs this share of the spread of luma.
_REACH, _STEP = 2, 0.08
# Of two lines that are about equally dark the one nearer to the middle is taken: the lower lip is darker than
# teeth, too, and the landmarks know its edge badly.
_MIDDLE = 0.2
# Luma is smoothed for what is dark, and less for lines as fine as that between rows that bite.
_SMOOTH, _FINE = 2.0, 0.8  # rows
# What is drawn out takes the colour of the darker part of the line: this quantile of its luma.
_DARKER = 0.25


@dataclass(frozen=True)
class Parting:
    """The line at which the inside of a mouth is drawn out when the mouth opens further than filmed.

    Attributes:
        above, below: (C,) how far it lies below the upper lip and above the lower one at C places from corner
            to corner, eye-corner distances.
        colour: (3,) what is seen between the parted rows, at most.
    """

    above: Array
    below: Array
    colour: NDArray[np.float32]


def parting_of(inside: NDArray[np.uint8], gaps: Array) -> Parting:
    """The darkest line through an open mouth with something brighter above it, from corner to corner.

    With luma L smoothed along each column, A(y) its maximum from the upper lip to y and B(y) from y to the
    lower one, the line minimises the sum over columns of

        (L - A) + (L - min(A, B)) + the rows that it moves by from column to column, weighted

    by dynamic programming. The first term finds the darkness below upper teeth, not the shadow of the upper
    lip, which has nothing brighter above it; the second one, less smoothed, a fine line between rows that
    bite. One straight height would cut through teeth, whose row is curved; drawn out, these are stripes.

    Args:
        inside: (h, w, 3) what is between the lips, rectified: each column from lip to lip.
        gaps: (w,) height of each column, eye-corner distances.

    Returns:
        A line at 0.25 to 0.88 of each gap; the colour is the mean of the darkest quarter of it.
    """
    luma = inside.astype(np.float64).mean(axis=-1)
    rows, columns = luma.shape
    smooth, fine = (gaussian_filter1d(luma, width, axis=0, mode="nearest") for width in (_SMOOTH, _FINE))
    spread = max(float(np.ptp(smooth)), 1.0)
    above, below = (np.maximum.accumulate(part, axis=0) for part in (fine, fine[::-1]))
    heights = (np.arange(rows) + 0.5) / rows
    cost = (smooth - above + fine - np.minimum(above, below[::-1])) / spread
    cost += _MIDDLE * np.square(2 * heights - 1)[:, None]
    cost[(heights < _HIGHEST) | (heights > _LOWEST)] = np.inf
    path = _cheapest_path(cost)
    along = inside[path, np.arange(columns)].astype(np.float32)
    order = np.argsort(along.sum(axis=1))
    darkest = along[order[: max(1, round(_DARKER * columns))]]
    colour = np.asarray(darkest.mean(axis=0), np.float32)
    return Parting(heights[path] * gaps, (1 - heights[path]) * gaps, colour)


def _cheapest_path(cost: Array) -> NDArray[np.int64]:
    """(columns,) row of the cheapest way from the first to the last column of (rows, columns) costs."""
    rows, columns = cost.shape
    steps = np.arange(-_REACH, _REACH + 1)
    price = _STEP * np.abs(steps)
    # The total cost of each row, and for each row a view of those that it may be reached from.
    total = np.full(rows + 2 * _REACH, np.inf)
    reachable = sliding_window_view(total, len(steps))
    ends = total[_REACH:-_REACH]
    ends[:] = cost[:, 0]
    back, every = np.zeros((rows, columns), np.int64), np.arange(rows)
    for column in range(1, columns):
        reached = reachable + price
        best = reached.argmin(axis=1)
        back[:, column] = every + steps[best]
        ends[:] = reached[every, best] + cost[:, column]
    path = [int(ends.argmin())]
    for column in range(columns - 1, 0, -1):
        path.append(int(back[path[-1], column]))
    return np.array(path[::-1], np.int64)
