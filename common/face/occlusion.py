"""What covers the lower face: what a clip usually shows there, and where a frame shows something else.

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
# Least spread, in parts of the colour of the skin: of brightness (shadows, wrinkles) and of the two colours.
_FLOOR = np.array([0.11, 0.05, 0.05], np.float32)
# Spreads at which something else is suspected and certain.
_SUSPECT, _CERTAIN = 2.7, 4.7
# While learning, a picture is taken for a free face only where it is so many times nearer to the usual.
_STRICT = 1.6
# Pixel by pixel, this share of the pictures, those most like skin, is where learning begins.
_CORE = 0.35
# With fewer free faces than this, free and covered might be confounded: then nothing is ever found.
_MAJORITY = 0.5
_ROUNDS = 4
# Share of the free pictures in which a pixel may differ from the usual and be usual still, and how many
# standard deviations a normal law has there.
_RARE, _RARE_DEVIATIONS = 0.12, 1.55
# A turned head shows other parts: radians beyond the usual turn that double the spread.
_TURN = 0.2
# A clip's usual turns reach no farther than this to either side of its middle, radians.
_TURNS_USUALLY = 0.1
# Beyond this, radians, nothing can be told: a bowed head shows hair where the face was.
_LOST = 0.35
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
    """What is usual: colour of the skin (3,), turn and its spread (2,), middle and spread of every pixel.

    The last two are (HEIGHT, WIDTH, 3), in the colours of :func:`_opponent`.
    """

    skin: FloatArray
    turn: Array
    turn_spread: Array
    middle: FloatArray
    spread: FloatArray


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
        """Where a frame shows something before the face: (HEIGHT, WIDTH) float32 0..1, soft at its edge.

        Raises:
            ValueError: before freeze().
        """
        if not self._frozen:
            raise ValueError("freeze() comes before the first question")
        if self._usual is None:
            return np.zeros((HEIGHT, WIDTH), np.float32)
        small, view = face.picture, face.view
        skin = _lit(_skin(small, view.inside), self._usual.skin)
        return _things(_surprise(self._usual, _opponent(small, skin), view), view)


def _learn(kept: Sequence[LowerFace]) -> _Usual | None:
    """What is usual in a clip, None where too few free faces are seen to tell."""
    views = [face.view for face in kept]
    skins = np.stack([_skin(face.picture, face.view.inside) for face in kept])
    skin = np.median(skins, axis=0).astype(np.float32)
    pictures = np.stack(
        [_opponent(face.picture, _lit(own, skin)) for face, own in zip(kept, skins, strict=True)]
    )
    turns = np.stack([view.turn for view in views])
    turn = np.median(turns, axis=0)
    turn_spread = np.quantile(np.abs(turns - turn), 0.8, axis=0).clip(max=_TURNS_USUALLY)
    # Turned heads are judged mildly, so that things before them may pass: they teach nothing.
    straight = (np.abs(turns - turn) <= 2 * _TURNS_USUALLY).all(axis=1)
    middle, spread = _most_like_skin(pictures)
    for _ in range(_ROUNDS):
        usual = _Usual(skin, turn, turn_spread, middle, _forgiving(middle, spread))
        free = np.array([_is_free(usual, p, view) for p, view in zip(pictures, views, strict=True)])
        if free.mean() < _CORE:
            return None
        taught = pictures[free & straight] if (free & straight).mean() >= _CORE else pictures[free]
        middle = np.median(taught, axis=0)
        spread = np.quantile(np.abs(taught - middle), 1 - _RARE, axis=0) / _RARE_DEVIATIONS
    return usual if free.mean() >= _MAJORITY else None


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


def _most_like_skin(pictures: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Middle and spread, pixel by pixel, of the share _CORE of the pictures that is most like skin.

    A thing may be there for almost half of the clip: that a face looks like skin, and most things do not,
    says which half is the face.
    """
    strange = (np.abs(pictures - np.array([1, 0, 0], np.float32)) / _FLOOR).sum(axis=-1)
    order = np.argsort(strange, axis=0)[: max(round(_CORE * len(pictures)), 1)]
    core = np.take_along_axis(pictures, order[..., None], axis=0)
    middle = np.median(core, axis=0)
    return middle, np.abs(core - middle).max(axis=0)


def _forgiving(middle: FloatArray, spread: FloatArray) -> FloatArray:
    """Spread that forgives a displacement by half a pixel, and no less than the floor."""
    slope = np.abs(np.gradient(middle, axis=0)) + np.abs(np.gradient(middle, axis=1))
    total = np.sqrt(spread**2 + (0.5 * slope) ** 2 + _FLOOR**2)
    return np.asarray(cv2.GaussianBlur(total.astype(np.float32), (3, 3), 0), np.float32)


def _surprise(usual: _Usual, picture: FloatArray, view: _View, strict: float = 1.0) -> FloatArray:
    """(HEIGHT, WIDTH) 0..1: how sure it is that a pixel is unusual; ``strict`` multiplies the distance."""
    beyond = np.maximum(np.abs(view.turn - usual.turn) - usual.turn_spread, 0).sum()
    if beyond > _LOST:
        return np.zeros((HEIGHT, WIDTH), np.float32)
    distance = np.sqrt((((picture - usual.middle) / usual.spread) ** 2).sum(axis=-1))
    distance = cv2.GaussianBlur(distance.astype(np.float32), (3, 3), 0.8) * (strict / (1 + beyond / _TURN))
    return np.clip((distance - _SUSPECT) / (_CERTAIN - _SUSPECT), 0, 1).astype(np.float32)


def _is_free(usual: _Usual, picture: FloatArray, view: _View) -> bool:
    # Here it is a thing let through that does harm: a widely open mouth may be left out.
    return not _things(_surprise(usual, picture, view, _STRICT), replace(view, cheeks=view.inside)).any()


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
    """Maps (N, HEIGHT, WIDTH) of consecutive frames, without what stays for less than three of them.

    Gaps of a frame or two between findings are filled with what both sides show.
    """
    maps = np.array(disagreement, np.float32)
    seen = maps.any(axis=(1, 2))
    stays = steady(seen)
    known = np.flatnonzero(seen)
    for frame in np.flatnonzero(stays & ~seen):
        after = int(np.searchsorted(known, frame))
        maps[frame] = np.minimum(maps[known[after - 1]], maps[known[after]])
    maps[~stays] = 0
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
    """Share of the mouth area that is covered, 0..1.

    Args:
        disagreement: (HEIGHT, WIDTH) of the frame.
        hands: (21, 2) points in frame pixels each.
        landmarks: (68, 2 or 3) of the frame; needed where there are hands.
    """
    if hands and landmarks is not None:
        back = _back(_view(landmarks).matrix)
        seen = [_move(back, hand).astype(np.float32) for hand in hands]
        disagreement = np.maximum(disagreement, hand_mask(seen, (HEIGHT, WIDTH)))
    return float(disagreement[_mouth_area()].mean())
