"""What stays still in the picture while the face below it moves."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.ndimage import find_objects, uniform_filter1d

from common.face.layout import JAW, MOUTH
from common.face.masks import disc, widen
from common.face.overlays.boxes import borders, letters_behind, with_boxes
from common.face.overlays.grid import Flags
from common.face.overlays.stretch import FrameStretch, Points

LOWER_FACE = [*JAW, *range(31, 36), *MOUTH]
"""Landmarks whose movement is asked for: jaw, nostrils and lips."""
# Its outline: the jaw and the bridge of the nose, drawn in by this much.
_OUTLINE, _DRAWN_IN = [*JAW, 29], 0.93
# A cell counts where the face is below it in this share of some frames: what is behind it changes with it.
_OFTEN, _FRAMES = 0.35, 8
# Letters differ from what they lie on: levels between the darkest and brightest cell of 3 x 3, at least.
_CONTRAST = 40
# What stays still changes by no more than these levels, or this share of the contrast.
_STILL_LEVELS, _STILL_SHARE = 10.0, 0.12
# The face moves by at least so many cells, and so many eye-corner distances, by means of three frames.
_MOVED_CELLS, _MOVED_UNITS, _SMOOTHED = 2.0, 0.025, 3
# Letters of a line are this near to each other, eye-corner distances; so much of it is sure at least, square
# ones; and what is sure is no higher than this.
_LINE, _LEAST, _HIGHEST = 0.3, 0.0125, 0.6
_STROKE = 2  # cells; strokes twice as wide are filled
# The edges of the face itself change by this share of their contrast, so many of them at least; else it is
# the landmarks that move.
_GONE, _OTHERS_GONE = 0.3, 0.2
_LETTER = 0.35  # letters reach so far beyond the outline of the face, eye-corner distances
_ENCLOSED_STILL = 0.9  # share of what is enclosed that stays still


def overlay_in(stretch: FrameStretch, unit: float) -> Flags | None:
    """(h, w) cells of letters, boxes below them and logos over the lower face that stay while it moves.

    A cell with an edge (contrast C in 3 x 3 cells, at least 40 levels) that changes by no more than
    max(10, 0.12 C) levels is an overlay's where the landmark nearest to it has moved by 2 cells and 0.025
    eye-corner distances: the edge of a face would have gone with it.

    Args:
        stretch: of frames.
        unit: cells of an eye-corner distance.

    Returns:
        None: there is none, or the face does not move.
    """
    moved = _movement(stretch.points) >= max(_MOVED_CELLS, _MOVED_UNITS * unit)
    if not moved.any():
        return None
    edges = stretch.contrast >= _CONTRAST
    stays = edges & (stretch.changed <= np.maximum(_STILL_LEVELS, _STILL_SHARE * stretch.contrast))
    face = _below(stretch)
    border = borders(stretch.mean, stretch.changed, unit)
    sure = _where_moved(stays & face, stretch, moved)
    level = _where_moved(border & face, stretch, moved)
    if level.any():
        sure |= letters_behind(level, stays, unit)
    if np.count_nonzero(sure) < _LEAST * unit**2:
        return None
    lines = _lines(stays, face, sure, unit)
    if lines is None:
        return None
    others = edges & face & ~lines
    if np.count_nonzero(others) >= _LEAST * unit**2:
        gone = stretch.changed[others] > _GONE * stretch.contrast[others]
        if gone.mean() < _OTHERS_GONE:
            return None
    return with_boxes(_enclosed(lines, stretch.changed <= _STILL_LEVELS, unit), border, unit)


def _where_moved(cells: Flags, stretch: FrameStretch, moved: Flags) -> Flags:
    """Those of some cells (h, w) whose nearest landmark of the lower face is one of ``moved``."""
    rows, columns = np.nonzero(cells)
    places = np.column_stack([columns, rows]) + stretch.part.corner
    usual = stretch.points[:, LOWER_FACE].mean(axis=0)
    nearest = np.square(places[:, None] - usual[None]).sum(axis=-1).argmin(axis=1)
    result = np.zeros(cells.shape, bool)
    result[rows, columns] = moved[nearest]
    return result


def _movement(points: Points) -> Points:
    """How far each landmark of the lower face, of (N, 68, 2), moves, cells; means of three shake less."""
    lower = points[:, LOWER_FACE]
    if len(lower) >= _SMOOTHED:
        lower = uniform_filter1d(lower, _SMOOTHED, axis=0)[1:-1]
    return np.asarray(np.hypot(*np.moveaxis(np.ptp(lower, axis=0), -1, 0)), np.float64)


def _below(stretch: FrameStretch) -> Flags:
    """(h, w) cells below which the lower face is in a third of the frames, and more."""
    points, part = stretch.points, stretch.part
    points = points[:: max(1, len(points) // _FRAMES)]
    count = np.zeros(part.shape, np.uint8)
    for face in points:
        outline = face[_OUTLINE]
        middle = outline.mean(axis=0)
        outline = middle + _DRAWN_IN * (outline - middle) - part.corner
        here = np.zeros(part.shape, np.uint8)
        cv2.fillConvexPoly(here, cv2.convexHull(np.rint(outline).astype(np.int32)), (1,))
        count += here
    return np.asarray(count >= _OFTEN * len(points))


def _lines(edges: Flags, face: Flags, sure: Flags, unit: float) -> Flags | None:
    """Lines of which enough is sure, with what goes on of them beside the face; None: there is none.

    There the background stays still, too: only letters that the face's outline cuts are followed, and their
    rows from there on.
    """
    stroke = disc(_STROKE)
    beside = edges & ~face
    letter = np.ones((2 * round(_LETTER * unit) + 1, len(stroke)), np.uint8)
    near = cv2.dilate(sure.astype(np.uint8), letter) > 0
    solid = cv2.morphologyEx((sure | (beside & near)).astype(np.uint8), cv2.MORPH_CLOSE, stroke)
    count, numbers = cv2.connectedComponents(solid)
    letters = np.zeros(count, bool)
    letters[numbers[sure]] = True
    cut = letters[numbers] & (solid > 0)
    rows = cut.any(axis=1)[:, None]
    solid = cv2.morphologyEx((cut | (beside & rows)).astype(np.uint8), cv2.MORPH_CLOSE, stroke)
    reach = max(1, round(_LINE * unit / 2))
    count, numbers = cv2.connectedComponents(cv2.dilate(solid, np.ones((3, 2 * reach + 1), np.uint8)))
    of_line = np.where(sure, numbers, 0)
    kept = np.bincount(of_line.ravel(), minlength=count) >= _LEAST * unit**2
    kept[0] = False
    for number, place in enumerate(find_objects(of_line, count - 1), start=1):
        kept[number] &= place is not None and place[0].stop - place[0].start <= _HIGHEST * unit
    if not kept.any():
        return None
    return widen((kept[numbers] & (solid > 0)).astype(np.uint8) * 255, 1) > 0


def _enclosed(lines: Flags, still: Flags, unit: float) -> Flags:
    """Lines with what they enclose and what stays still, too: the face of a logo, wide strokes."""
    count, numbers, boxes, _ = cv2.connectedComponentsWithStats((~lines).astype(np.uint8), connectivity=4)
    result = lines.copy()
    for number in range(1, count):
        x, y, width, height, area = boxes[number]
        open_ended = x == 0 or y == 0 or x + width == lines.shape[1] or y + height == lines.shape[0]
        if open_ended or area > unit**2:
            continue
        cells = numbers == number
        if still[cells].mean() >= _ENCLOSED_STILL:
            result |= cells
    return result
