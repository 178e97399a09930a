"""Boxes on which letters stand, and which dim what lies there."""

from __future__ import annotations

import cv2
import numpy as np

from common.face.overlays.grid import Flags, Luma

# A border of a box: levels from the cell above to the one below at least, and from side to side at most; it
# changes by no more than these levels, or this share of the step, while the face moves below it.
_STEP, _EVEN, _LEVELS, _SHARE = 20, 14, 12.0, 0.4
# It is this long, and this far above or below letters, eye-corner distances; these have this share of edges.
_LONG, _FAR, _LETTERS = 0.5, 0.4, 0.08


def borders(mean: Luma, changed: Luma, unit: float) -> Flags:
    """(h, w) cells of long level lines that stay still.

    Args:
        mean: (h, w) luma.
        changed: (h, w) levels by which each cell has changed.
        unit: cells of an eye-corner distance.
    """
    down, across = np.zeros_like(mean), np.zeros_like(mean)
    cv2.absdiff(mean[2:], mean[:-2], down[1:-1])
    cv2.absdiff(mean[:, 2:], mean[:, :-2], across[:, 1:-1])
    lines = ((down >= _STEP) & (across <= _EVEN)).astype(np.uint8)
    lines[changed > np.maximum(_LEVELS, _SHARE * down)] = 0
    long = np.ones((1, max(3, round(_LONG * unit))), np.uint8)
    return np.asarray(cv2.morphologyEx(lines, cv2.MORPH_OPEN, long) > 0)


def letters_behind(sure: Flags, edges: Flags, unit: float) -> Flags:
    """(h, w) cells with edges that stand on boxes whose borders are ``sure`` (h, w), on one side of them."""
    found, far = np.zeros(edges.shape, bool), max(2, round(_FAR * unit))
    for row in np.flatnonzero(sure.any(axis=1)):
        columns = np.flatnonzero(sure[row])
        across = slice(int(columns[0]), int(columns[-1]) + 1)
        sides = [slice(max(0, row - far), max(0, row - 2)), slice(row + 3, row + 1 + far)]
        shares = [edges[side, across].mean() if edges[side, across].size else 0.0 for side in sides]
        best = int(np.argmax(shares))
        if shares[best] >= _LETTERS:
            found[sides[best], across] |= edges[sides[best], across]
    return found


def with_boxes(lines: Flags, border: Flags, unit: float) -> Flags:
    """Letters with the boxes that they stand on, as a whole.

    Only a border above and below is looked for: sides mostly lie beside the face. A box has the same margin
    above and below its letters; where one of its borders is not seen the other tells it.

    Args:
        lines: (h, w) cells of letters.
        border: (h, w) those of :func:`borders`.
        unit: cells of an eye-corner distance.
    """
    if not border.any():
        return lines
    result, far = lines.copy(), round(_FAR * unit)
    reach = max(1, round(_LONG * unit / 2))
    joined = cv2.dilate(lines.astype(np.uint8), np.ones((3, 2 * reach + 1), np.uint8))
    count, _, boxes, _ = cv2.connectedComponentsWithStats(joined)
    for x, y, width, height, _ in boxes[1:count].tolist():
        top, bottom = y + 1, y + height - 1
        here = border[:, x : x + width].any(axis=1)
        above, below = (
            np.flatnonzero(here[max(0, top - far) : top][::-1]),
            np.flatnonzero(here[bottom : bottom + far]),
        )
        # From the letters to the nearest border above, and to that below.
        margins = [int(rows[0]) + 1 for rows in (above, below) if len(rows)]
        if not margins:
            continue
        first, last = max(0, top - margins[0] - 1), bottom + margins[-1] + 1
        columns = np.flatnonzero(border[max(0, first - 2) : last + 2].any(axis=0))
        result[first:last, min(int(columns[0]), x) : max(int(columns[-1]) + 1, x + width)] = True
    return result
