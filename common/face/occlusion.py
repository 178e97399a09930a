"""What covers the lower face: what a clip usually shows there, and where a frame shows something else.

What is usual is a set of small pictures of the free face: those in which lips are seen best, and step by step
all that look like them. A pixel is unusual where its surroundings, colours and edges, are like those of none
of them. A hand has the colour of skin, but it hides the lips: where they are lost, little difference is
believed; where they are seen, much is asked, and most of all of what lies on them.

A false alarm on the lips leaves the old lips in a dubbed picture, the worst fault of all; a miss costs some
pixels of a thing. So every rule here rather misses: a thing has to differ from all that the clip usually
shows in its place, to be large, to cross the border of the face, and (:func:`calm`) to stay for some frames.
A thing that is there all the time is usual.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes

from common.face.canonical import cheek_points, face_points
from common.face.hands import hand_mask
from common.face.layout import JAW, OUTER_LIP
from common.face.pose import Array, fit_pose
from common.face.types import FloatArray, ImageArray

Flags = NDArray[np.bool_]

WIDTH, HEIGHT = 48, 40
"""The small picture of the lower face, in pixels."""

# Canonical units (distance of the outer eye corners) per pixel of the small picture, and the canonical place
# of its corner: from just below the eyes to under a wide open jaw.
_STEP = 0.0375
_CORNER = (-0.5 * WIDTH * _STEP, 0.15)
# The small picture is a slice through the canonical head at this depth: that of lips and cheeks.
_DEPTH = 0.12
# The outline of the face, drawn in by this much: hair and background that a turn brings in are no thing.
_DRAWN_IN = 0.95
# Drawn so many times larger first, whose blocks are then averaged: no aliasing.
_FINE = 4
_SUBPIXEL_BITS = 4
# At most so many pictures are remembered.
_MEMORY = 64
# Rows whose colour is the face's own: cheeks and nose, which little covers and which do not speak.
_SKIN_ROWS = slice(1, 13)
_DARKEST = 12.0
# The light changes by at most this factor within a clip; more is something before the cheeks.
_LIGHT = 1.5
# Unit of distance, in parts of the colour of the skin: brightness, two colours, slopes of the brightness.
_FLOOR = np.array([0.11, 0.05, 0.05, 0.06, 0.06], np.float32)
# Distances at which something else is suspected and certain, where lips are seen; where a thing is found in
# frames about it, the second pair does.
_SUSPECT, _CERTAIN = 2.6, 4.6
_SUSPECT_NEAR, _CERTAIN_NEAR = 0.9, 1.7
# Where the lips are lost a thing is there: it is told from the face at this share of what it differs by.
_SHARE, _LEAST_SUSPECT, _MOST_SUSPECT, _CERTAIN_LOST = 0.25, 0.6, 1.6, 1.8
# A pixel differs from the third likest of the free pictures: one that is not free does no harm.
_LIKEST = 2
# While learning, a picture is free where no more of it than the least thing differs by more than this.
_STRICT = 3.0
# Share of the pictures, those that show lips best, where learning begins.
_CORE = 0.25
# So many pictures that show lips, but another face, are another look of it (a shot, a turn), not a thing.
_ANOTHER_LOOK = 0.15
# With fewer free faces than this, free and covered might be confounded: then nothing is ever found.
_MAJORITY = 0.42
# Lips are lost where both their redness and their lines are less than these shares of what they are in the
# core (where that is redness at all), where there are hardly any lines, or where they are less red than the
# skin by so much, and than the lips of the core.
_LESS_RED, _LESS_LINED, _LEAST_RED = 0.35, 0.7, 0.3
_BLANK = 0.35
_PALE, _PALER = -0.5, 1.2
# A turned head shows other parts: radians beyond any free picture's turn that halve the distance.
_TURN, _SAME_TURN = 0.1, 0.05
# Beyond this, radians, nothing can be told: a bowed head shows hair where the face was.
_LOST = 0.35
# Nose and upper cheeks: where more of them than this differs, the whole face does.
_UPPER_ROWS, _MOST_OF_UPPER = slice(0, 9), 0.6
# Parts of the area of the lower face: the least thing.
_LEAST = 0.035
# Breadth of the rim of the face, pixels. At the very edge of the chin, which moves, nothing is certain.
_RIM = 4
_LEAST_ON_RIM = 4
# So far around the lips everything may be the mouth's, pixels.
_AROUND_LIPS = 2
# What is suspected belongs to a thing up to so many pixels away from what is certain.
_REACH = 6
# Canonical half axes and centre of the mouth area, closed to moderately open.
_MOUTH_CENTRE, _MOUTH_AXES = (0.0, 0.86), (0.36, 0.25)
# A thing stays for at least so many frames, and is not away for fewer.
_STAYS, _AWAY = 3, 2
# It is believed on suspicion for so many frames on end, before and after.
_COMES_AND_GOES = 4


@dataclass(frozen=True)
class _View:
    """Where the small picture lies in one frame.

    Attributes:
        matrix: (2, 3), from pixels of the small picture to pixels of the frame.
        inside: (HEIGHT, WIDTH) bool, where it shows the lower face.
        cheeks: (HEIGHT, WIDTH) bool, the part of it that lies clear of the lips as the landmarks have them.
        turn: (2,) yaw and pitch, radians.
    """

    matrix: Array
    inside: Flags
    cheeks: Flags
    turn: Array


@dataclass(frozen=True)
class LowerFace:
    """The small picture of one frame's lower face, (HEIGHT, WIDTH, 3) uint8 RGB, and where it lies."""

    picture: ImageArray
    view: _View

    @classmethod
    def of(cls, image: ImageArray, landmarks: NDArray[np.floating]) -> LowerFace:
        """Of a frame (H, W, 3) uint8 RGB with finite landmarks (68, 2 or 3)."""
        view = _view(landmarks)
        return cls(_small(image, view), view)


@dataclass(frozen=True)
class _Usual:
    """What is usual, of R free pictures.

    Attributes:
        skin: (3,) colour.
        lips: (2,) redness and lines of lips that are seen well, :func:`_lips`.
        turns: (R, 2) yaw and pitch, radians.
        low, high: (R, HEIGHT, WIDTH, 5) least and largest features about every pixel, :func:`_features`.
    """

    skin: FloatArray
    lips: FloatArray
    turns: Array
    low: FloatArray
    high: FloatArray


class UsualLowerFace:
    """What the lower face of one clip usually looks like.

    :meth:`add` the frames in order (better without those that show a hand: hands have the colour of skin),
    :meth:`freeze`, then ask for the :meth:`disagreement` of any frame. At most 64 small pictures are kept,
    spread over the clip.
    """

    def __init__(self) -> None:
        self._kept: list[LowerFace] = []
        self._seen, self._every = 0, 1
        self._usual: _Usual | None = None
        self._frozen = False

    def add(self, face: LowerFace) -> None:
        """Learn from a frame."""
        if self._seen % self._every == 0:
            self._kept.append(face)
            if len(self._kept) > _MEMORY:
                self._kept, self._every = self._kept[::2], 2 * self._every
        self._seen += 1

    @property
    def trusted(self) -> bool:
        """Whether enough free faces were seen; if not, nothing is ever found."""
        return self._usual is not None

    def freeze(self) -> None:
        """Settle what is usual, from all frames so far."""
        self._frozen = True
        self._usual = _learn(self._kept) if self._kept else None

    def disagreement(self, face: LowerFace) -> FloatArray:
        """Where a frame shows something before the face: (HEIGHT, WIDTH) float32 -1..1, soft at its edge.

        Less than 0: only suspected, there if something is found in frames about this one (:func:`calm`).

        Raises:
            ValueError: before freeze().
        """
        if not self._frozen:
            raise ValueError("freeze() comes before the first question")
        if self._usual is None:
            return np.zeros((HEIGHT, WIDTH), np.float32)
        own = _skin(face.picture, face.view.inside)
        return _disagreement(self._usual, _features(face.picture, _lit(own, self._usual.skin)), face.view)


def _learn(kept: Sequence[LowerFace]) -> _Usual | None:
    """What is usual in a clip, None where too few free faces are seen to tell."""
    views = [face.view for face in kept]
    skins = np.stack([_skin(face.picture, face.view.inside) for face in kept])
    skin = np.median(skins, axis=0).astype(np.float32)
    features = [_features(face.picture, _lit(own, skin)) for face, own in zip(kept, skins, strict=True)]
    lips = np.stack([_lips(f, view) for f, view in zip(features, views, strict=True)])
    # Seen well: both of its values are among the best.
    ranks = lips.argsort(axis=0).argsort(axis=0).min(axis=1)
    core = np.argsort(-ranks, kind="stable")[: max(round(_CORE * len(kept)), 1)]
    usual_lips = np.median(lips[core], axis=0).astype(np.float32)
    shown = ~_lips_lost(lips, usual_lips)
    low, high = _ranges(features)
    free = np.zeros(len(kept), bool)
    free[core] = True
    free = _grown_free([_distances(f, low, high) for f in features], views, free & shown, shown)
    if free.mean() < _MAJORITY:
        return None
    return _Usual(skin, usual_lips, np.stack([v.turn for v in views])[free], low[free], high[free])


def _grown_free(distances: Sequence[FloatArray], views: Sequence[_View], free: Flags, shown: Flags) -> Flags:
    """(N,) which pictures are free: those that are so already, and what shows lips and is like them.

    Args:
        distances: N times (HEIGHT, WIDTH, N), :func:`_distances` among the pictures.
        views: N.
        free: (N,) those that are known.
        shown: (N,) those that show lips.
    """
    for _ in range(len(views)):
        known, left = np.flatnonzero(free), np.flatnonzero(shown & ~free)
        new = [j for j in left if known.size and _is_like(_likest(distances[j][..., known]), views[j])]
        if not new:
            break
        free = free.copy()
        free[new] = True
    strangers = shown & ~free
    return shown if strangers.mean() >= _ANOTHER_LOOK else free


def _is_like(distance: FloatArray, view: _View) -> bool:
    differs = ((distance > _STRICT) & view.inside).astype(np.uint8)
    large = cv2.morphologyEx(differs, cv2.MORPH_OPEN, np.ones((3, 3)))
    return bool(np.sum(large) < _LEAST * view.inside.sum())


def _view(landmarks: NDArray[np.floating]) -> _View:
    pose = fit_pose(np.asarray(landmarks, np.float64)[None])
    rows = pose.scale[0] * pose.rotation[0, :2]
    # Weak perspective shows a plane by an affine map: p = rows @ (x, y, depth) + translation, where pixel u
    # of the small picture has x = left + step (u + 1/2).
    first = np.array([_CORNER[0] + _STEP / 2, _CORNER[1] + _STEP / 2, _DEPTH])
    matrix = np.column_stack([rows[:, :2] * _STEP, pose.translation[0] + rows @ first])
    back = _back(matrix)
    inside = _hull(_move(back, pose.project(_outline())[0]))
    lips = _hull(_move(back, np.asarray(landmarks, np.float64)[list(OUTER_LIP), :2]))
    cheeks = inside & (cv2.dilate(lips.astype(np.uint8), _disc(_AROUND_LIPS)) == 0)
    return _View(matrix, inside, cheeks, np.arcsin(np.clip(pose.rotation[0, :2, 2], -1, 1)))


@cache
def _outline() -> Array:
    """Canonical points (P, 3) around the lower face, jaw closed."""
    face = face_points()
    points = np.concatenate([face[list(JAW)], cheek_points(), face[28:30]])
    return np.asarray(points * [_DRAWN_IN, 1.0, 1.0])


def _hull(points: Array) -> Flags:
    hull = cv2.convexHull(np.round(points * (1 << _SUBPIXEL_BITS)).astype(np.int32))
    canvas = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.fillConvexPoly(canvas, hull, (1,), shift=_SUBPIXEL_BITS)
    return canvas.astype(bool)


def _back(matrix: Array) -> Array:
    """The inverse of a (2, 3) affine map."""
    inverse = np.linalg.pinv(matrix[:, :2])
    return np.column_stack([inverse, -inverse @ matrix[:, 2]])


def _move(matrix: Array, points: NDArray[np.floating]) -> Array:
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2], np.float64)


@cache
def _mouth_area() -> Flags:
    """(HEIGHT, WIDTH) bool, where lips usually are."""
    y, x = (np.mgrid[:HEIGHT, :WIDTH] + 0.5) * _STEP + np.reshape(_CORNER[::-1], (2, 1, 1))
    (x0, y0), (a, b) = _MOUTH_CENTRE, _MOUTH_AXES
    return np.asarray(((x - x0) / a) ** 2 + ((y - y0) / b) ** 2 <= 1)


def _small(image: ImageArray, view: _View) -> ImageArray:
    """(HEIGHT, WIDTH, 3) uint8 RGB: the lower face seen from the front, as if it were flat."""
    # Pixel centres: fine pixel v lies at u = (v + 1/2) / fine - 1/2.
    first = np.full(2, 0.5 / _FINE - 0.5)
    matrix = np.column_stack([view.matrix[:, :2] / _FINE, _move(view.matrix, first)])
    size = (WIDTH * _FINE, HEIGHT * _FINE)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    large = cv2.warpAffine(image, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.resize(large, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), np.uint8)


def _skin(small: ImageArray, inside: Flags) -> FloatArray:
    """(3,) median colour of cheeks and nose."""
    seen = small[_SKIN_ROWS][inside[_SKIN_ROWS]]
    colour = np.median(seen if len(seen) else small.reshape(-1, 3), axis=0)
    return np.maximum(colour, _DARKEST).astype(np.float32)


def _lit(own: FloatArray, usual: FloatArray) -> FloatArray:
    """A frame's colour of the skin, as far as a change of light explains it."""
    return np.clip(own, usual / _LIGHT, usual * _LIGHT).astype(np.float32)


def _opponent(small: ImageArray, skin: FloatArray) -> FloatArray:
    """(HEIGHT, WIDTH, 3): brightness and two differences of colour, in which the light cancels.

    With r, g, b = RGB / skin: (r + 2 g + b) / 4, r - g and b - g; skin itself is 1, 0, 0.
    """
    r, g, b = np.moveaxis(small.astype(np.float32) / skin, -1, 0)
    return np.stack([(r + 2 * g + b) / 4, r - g, b - g], axis=-1)


def _features(small: ImageArray, skin: FloatArray) -> FloatArray:
    """(HEIGHT, WIDTH, 5): colours of :func:`_opponent` and the slopes of the brightness, in floors."""
    colours = _opponent(small, skin)
    bright = cv2.GaussianBlur(np.ascontiguousarray(colours[..., 0]), (3, 3), 0.6)
    slopes = [cv2.Sobel(bright, cv2.CV_32F, dx, 1 - dx, ksize=3, scale=0.25) for dx in (1, 0)]
    return np.asarray(np.concatenate([colours, np.stack(slopes, axis=-1)], axis=-1) / _FLOOR, np.float32)


def _ranges(features: Sequence[FloatArray]) -> tuple[FloatArray, FloatArray]:
    """(N, HEIGHT, WIDTH, 5) twice: least and largest about every pixel, which forgives a displacement."""
    square = np.ones((3, 3), np.uint8)
    low, high = ([change(f, square) for f in features] for change in (cv2.erode, cv2.dilate))
    return np.asarray(low, np.float32), np.asarray(high, np.float32)


def _distances(features: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """(HEIGHT, WIDTH, R): how far the surroundings of every pixel are from those in R pictures."""
    beyond = np.maximum(features - high, low - features)
    np.maximum(beyond, 0, out=beyond)
    squares = np.einsum("rhwc,rhwc->hwr", beyond, beyond)
    blurred = np.maximum(cv2.blur(squares, (3, 3)), 0)  # running sums may fall below 0 by rounding
    return np.asarray(np.sqrt(blurred).reshape(squares.shape), np.float32)


def _likest(distances: FloatArray) -> FloatArray:
    """(HEIGHT, WIDTH) of (HEIGHT, WIDTH, R): to the third likest."""
    which = min(_LIKEST, distances.shape[-1] - 1)
    return np.asarray(np.partition(distances, which, axis=-1)[..., which], np.float32)


def _lips(features: FloatArray, view: _View) -> FloatArray:
    """(2,) how much redder than the cheeks the place of the lips is, and how strong its level lines are.

    Both are 0 where the place of the lips cannot be told from the cheeks'.
    """
    lips, cheeks = view.inside & ~view.cheeks, view.cheeks.copy()
    cheeks[: _UPPER_ROWS.stop + 1] = False
    if not lips.any() or not cheeks.any():
        return np.zeros(2, np.float32)
    red = features[..., 1]
    lines = np.abs(features[..., 4])[lips].mean()
    return np.array([red[lips].mean() - np.median(red[cheeks]), lines], np.float32)


def _lips_lost(lips: FloatArray, usual: FloatArray) -> Flags:
    """(...) whether lips (..., 2) are not seen, given those (2,) that are seen well."""
    faint = (lips < usual * np.array([_LESS_RED, _LESS_LINED])).all(axis=-1)
    pale = (lips[..., 0] < _PALE) & (lips[..., 0] < usual[0] - _PALER)
    blank = lips[..., 1] < _BLANK * usual[1]
    return np.asarray(((usual[0] > _LEAST_RED) & faint) | pale | blank, bool)


def _disagreement(usual: _Usual, features: FloatArray, view: _View) -> FloatArray:
    """Of :meth:`UsualLowerFace.disagreement`."""
    nothing = np.zeros((HEIGHT, WIDTH), np.float32)
    beyond = float(np.abs(view.turn - usual.turns).sum(axis=1).min())
    if beyond > _LOST:
        return nothing
    distance = _likest(_distances(features, usual.low, usual.high))
    distance /= 1 + max(beyond - _SAME_TURN, 0) / _TURN
    upper = view.inside[_UPPER_ROWS]
    if ((distance[_UPPER_ROWS] > _SUSPECT) & upper).sum() > _MOST_OF_UPPER * upper.sum():
        return nothing
    seen = _lips(features, view)
    if seen.any() and _lips_lost(seen, usual.lips):
        suspect = _suspect_lost(distance, view)
        return _things(_sure(distance, suspect, _CERTAIN_LOST * suspect), replace(view, cheeks=view.inside))
    lips = view.inside & ~view.cheeks
    found = _things(_sure(distance, _SUSPECT, _CERTAIN), view)
    if found.any():
        found[lips & (distance < _CERTAIN)] = 0
        return found
    suspected = _things(_sure(distance, _SUSPECT_NEAR, _CERTAIN_NEAR), view)
    suspected[lips] = 0
    return -suspected


def _suspect_lost(distance: FloatArray, view: _View) -> float:
    """The distance at which something is suspected where the lips are lost."""
    differs = distance[view.inside & (distance > 1)]
    typical = float(np.quantile(differs, 0.8)) if len(differs) > _LEAST * view.inside.sum() else 0.0
    return min(max(_SHARE * typical, _LEAST_SUSPECT), _MOST_SUSPECT)


def _sure(distance: FloatArray, suspect: float, certain: float) -> FloatArray:
    return np.clip((distance - suspect) / (certain - suspect), 0, 1).astype(np.float32)


def _things(surprise: FloatArray, view: _View) -> FloatArray:
    """(HEIGHT, WIDTH) 0..1: what is large and crosses the border of the face; a mouth never does."""
    core = cv2.morphologyEx(
        ((surprise > 0.5) & view.inside).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3))
    )
    chosen = _crossing(np.asarray(core, np.uint8), view)
    if not chosen.any():
        return np.zeros_like(surprise)
    # A thing goes on where its colour is hardly unusual: the ball of a microphone before an open mouth.
    weak = (surprise > 0).astype(np.uint8)
    near = np.asarray(cv2.dilate(chosen, _disc(_REACH)), np.uint8)
    _, labels = cv2.connectedComponents(weak & near, connectivity=4)
    grown = np.isin(labels, np.unique(labels[(chosen > 0) & (labels > 0)])) | (chosen > 0)
    whole = binary_fill_holes(cv2.morphologyEx(grown.astype(np.uint8), cv2.MORPH_CLOSE, _disc(4)))
    return np.asarray(cv2.GaussianBlur(whole.astype(np.float32), (3, 3), 0), np.float32)


def _crossing(core: NDArray[np.uint8], view: _View) -> NDArray[np.uint8]:
    """The parts of ``core`` that are large and lie both on the rim of the face and within, lips apart."""
    within = cv2.erode(view.inside.astype(np.uint8), np.ones((2 * _RIM + 1, 2 * _RIM + 1))).astype(bool)
    rim = view.cheeks & ~within
    least = _LEAST * view.inside.sum()
    count, labels = cv2.connectedComponents(core, connectivity=4)
    chosen = np.zeros_like(core)
    for label in range(1, count):
        here = labels == label
        large = here.sum() >= least and min((here & within).sum(), (here & view.cheeks).sum()) >= 0.5 * least
        if large and (here & rim).sum() >= _LEAST_ON_RIM:
            chosen[here] = 1
    return chosen


def _disc(radius: int) -> NDArray[np.uint8]:
    size = (2 * radius + 1, 2 * radius + 1)
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, size), np.uint8)


def steady(seen: Flags) -> Flags:
    """(N,) bool of frames in order: gaps of a frame or two are closed, then what stays under three is gone.

    A finding in one frame alone is a mistake more often than a thing.
    """
    return _without_short(~_without_short(~np.asarray(seen, bool), _AWAY + 1, ends=True), _STAYS)


def _without_short(flags: Flags, least: int, ends: bool = False) -> Flags:
    """``flags`` less its runs shorter than ``least``; with ``ends``, those at the ends stay."""
    result, start = flags.copy(), 0
    for value, run in itertools.groupby(flags):
        stop = start + len(list(run))
        at_end = start == 0 or stop == len(flags)
        if value and stop - start < least and not (ends and at_end):
            result[start:stop] = False
        start = stop
    return result


def calm(disagreement: NDArray[np.floating]) -> FloatArray:
    """Maps (N, HEIGHT, WIDTH) of consecutive frames, 0..1, without what stays for less than three of them.

    Gaps of a frame or two between findings are filled with what both sides show. What is only suspected is
    believed where it touches a finding in the frame before or after, and so on for a few frames.
    """
    given = np.asarray(disagreement, np.float32)
    maps = np.maximum(given, 0)
    seen = maps.any(axis=(1, 2))
    stays = steady(seen)
    known = np.flatnonzero(seen)
    for frame in np.flatnonzero(stays & ~seen):
        after = int(np.searchsorted(known, frame))
        maps[frame] = np.minimum(maps[known[after - 1]], maps[known[after]])
    maps[~stays] = 0
    suspected = given.min(axis=(1, 2), initial=0) < 0
    for _ in range(_COMES_AND_GOES if suspected.any() else 0):
        before = [maps[max(frame - 1, 0) : frame + 2].max(axis=0) for frame in range(len(maps))]
        for frame in np.flatnonzero(suspected):
            about = cv2.dilate((before[frame] > 0.5).astype(np.uint8), _disc(_REACH)).astype(bool)
            if (about & (given[frame] < -0.5)).any():
                maps[frame] = np.maximum(maps[frame], -given[frame])
    return maps


def calm_hands(hands: Sequence[Sequence[FloatArray]]) -> list[list[FloatArray]]:
    """Hands of consecutive frames, without those that are found in fewer than three frames."""
    stays = steady(np.array([bool(found) for found in hands], bool))
    return [list(found) if keep else [] for found, keep in zip(hands, stays, strict=True)]


def to_frame(
    disagreement: FloatArray, landmarks: NDArray[np.floating], roi: tuple[int, int, int, int]
) -> FloatArray:
    """A map of the small picture in the pixels of a frame.

    Args:
        disagreement: (HEIGHT, WIDTH) 0..1.
        landmarks: (68, 2 or 3) of the frame, finite.
        roi: x0, y0, x1, y1, whole pixels.

    Returns:
        (y1 - y0, x1 - x0) float32 0..1, 0 outside the small picture.
    """
    x0, y0, x1, y1 = roi
    shape = (y1 - y0, x1 - x0)
    if not disagreement.any():
        return np.zeros(shape, np.float32)
    matrix = _view(landmarks).matrix.copy()
    matrix[:, 2] -= (x0, y0)
    shown = cv2.warpAffine(np.asarray(disagreement, np.float32), matrix, shape[::-1])
    return np.clip(shown, 0, 1).astype(np.float32)


def keep_mask(
    disagreement: FloatArray,
    hands: Sequence[FloatArray],
    landmarks: NDArray[np.floating],
    roi: tuple[int, int, int, int],
) -> FloatArray:
    """Where the pixels of the source stay: 1 on a thing or a hand, 0 on a free face, soft between.

    Args:
        disagreement: (HEIGHT, WIDTH) of the frame, after :func:`calm`.
        hands: (21, 2) points in frame pixels each, after :func:`calm_hands`.
        landmarks: (68, 2 or 3) of the frame, finite.
        roi: x0, y0, x1, y1, whole pixels of the frame.

    Returns:
        (y1 - y0, x1 - x0) float32.
    """
    things = to_frame(disagreement, landmarks, roi)
    if not hands:
        return things
    return np.maximum(things, hand_mask(hands, (roi[3] - roi[1], roi[2] - roi[0]), (roi[0], roi[1])))


def covered(
    disagreement: FloatArray,
    hands: Sequence[FloatArray] = (),
    landmarks: NDArray[np.floating] | None = None,
) -> float:
    """Share of the mouth area that is covered, or suspected to be, 0..1.

    Args:
        disagreement: (HEIGHT, WIDTH) of the frame.
        hands: (21, 2) points in frame pixels each.
        landmarks: (68, 2 or 3) of the frame; needed where there are hands.
    """
    if hands and landmarks is not None:
        back = _back(_view(landmarks).matrix)
        seen = [_move(back, hand).astype(np.float32) for hand in hands]
        disagreement = np.maximum(np.abs(disagreement), hand_mask(seen, (HEIGHT, WIDTH)))
    return float(np.abs(disagreement)[_mouth_area()].mean())
