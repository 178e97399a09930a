"""Laying a moment's mouth into a frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from common.face.layout import CHIN, INNER_LIP_PAIRS, JAW
from common.own_mouths.bank import Bank, head_motion
from common.own_mouths.config import OwnMouthsConfig
from common.own_mouths.drawn import drawn_inside, drawn_share, mouth_colours
from common.own_mouths.frame import FaceAxes
from common.own_mouths.goal import CORNERS, LOWER_LIP, UPPER_LIP, filmed_gap, frontality, goal_face
from common.own_mouths.heads import Heads
from common.own_mouths.inside import Opening, lower_share, splitting_line
from common.own_mouths.plan import MouthPlan
from common.own_mouths.plates import Roi, pixel_grid, pulled, thin_plate
from common.own_mouths.skin import Aligner, lit, motion_blurred

Array = NDArray[np.float64]
Image = NDArray[np.uint8]
Picture = NDArray[np.float32]
Map = NDArray[np.float32]

Keep = Callable[[Roi], Map | None]

# What does not move with the mouth: temples, brows, nose, eyes.
FIXED = (0, 1, 15, 16, *range(17, 48))

# Region that the jaw's movement touches, in the face's axes about the mouth: beside it, above, below.
_BESIDE, _ABOVE, _BELOW = 1.05, 0.75, 1.15
# The jaw's movement fades to 0 at this distance from the region's border, and is nothing this far below it.
_FADE, _NECK = 0.12, 0.45
# Grids of the plates, eye-corner distances; smoothing of the lips' plate likewise.
_JAW_STEP, _LIP_STEP, _LIP_SLACK = 0.1, 0.05, 0.003
_JAW_SLACK = 0.5  # square pixels
_LEAST_MOVE = 0.3  # pixels
# The mask: half width at least, beyond the mouth's corners, gap below the nose and above the chin; it stays
# this far inside of the outline of the jaw, and is soft over this width.
_MASK_HALF, _MASK_BESIDE, _MASK_NOSE, _MASK_CHIN = 0.5, 0.2, 0.015, 0.03
_MASK_POWER, _MASK_INSIDE, _MASK_SOFT = 2.5, 0.035, 0.11
_SPLIT_SIZE = (24, 24)
# A shutter is open half of the time between frames; a movement beyond this many pixels shows.
_SHUTTER, _LEAST_BLUR = 0.5, 2.0
# A frame is soft where it has less than this share of a moment's sharpness: film short of light, not a
# drawing that moves.
_SOFT = 0.6


@dataclass(frozen=True)
class _Overlay:
    """A moment's mouth over the mask's region, and its weight."""

    moment: int
    weight: float
    picture: Picture


class FramePlacer:
    """Draws frames of one clip; calls do not depend on each other and may run at once.

    Args:
        heads: of the clip's frames, N.
        bank: the moments.
        plan: for the N frames.
        config: what is done.
        sharpness: (N,) of the frames, as :attr:`Bank.sharpness`; None: blur is not matched.
    """

    def __init__(
        self,
        heads: Heads,
        bank: Bank,
        plan: MouthPlan,
        config: OwnMouthsConfig,
        sharpness: Array | None = None,
    ) -> None:
        self._heads, self._bank, self._plan, self._config = heads, bank, plan, config
        self._sharpness = sharpness
        self._motion = head_motion(heads.landmarks)
        # Between runs a head does not move, it is elsewhere.
        self._motion[1:][np.diff(plan.runs) != 0] = 0.0

    def __call__(self, frame: int, image: Image, keep: Keep | None = None) -> Image:
        """Frame ``frame`` with the mouth that the plan gives it.

        Args:
            frame: 0 to N - 1.
            image: (H, W, 3) uint8 source frame.
            keep: gives (h, w) float32 for a region of the frame, 1 where something lies before the face that
                must stay, or None where nothing does; None: not asked.

        Returns:
            (H, W, 3) uint8; a copy, equal to the source outside of the region about the mouth.
        """
        heads, bank = self._heads, self._bank
        own = heads.landmarks[frame]
        unit = float(heads.pose.scale[frame])
        axes = FaceAxes.of(own, unit)
        face = axes.to_face(own[:, :2])
        shown = self._plan.shown(frame, bank)
        weights, moments = np.array([w for _, w in shown]), [m for m, _ in shown]
        faces = np.stack([axes.to_face(bank.heads.turned(m, heads, frame)) for m in moments])
        turned, measured = np.einsum("m,mpc->pc", weights, faces), weights @ bank.shapes[moments]
        change = self._plan.wanted[frame] - measured if self._config.warp else None
        goal = goal_face(face, turned, change, float(frontality(heads.angles[frame, 0])))
        region = _clipped(_box(axes, goal, _BESIDE, _ABOVE, _BELOW), image)
        if region is None:
            return image.copy()
        base = self._with_jaw(frame, image, axes, face, goal, region)
        alpha, spot = _mask(axes, face, goal, region)
        if spot is None:
            return image.copy()
        rows, columns = (
            slice(spot[1] - region[1], spot[3] - region[1]),
            slice(spot[0] - region[0], spot[2] - region[0]),
        )
        alpha, below = alpha[rows, columns], base[rows, columns].astype(np.float32)
        overlays = [_Overlay(m, w, self._overlay(frame, m, axes, goal, spot, below, alpha)) for m, w in shown]
        above = _mixed(overlays, axes, goal, spot)
        soft = alpha[..., None]
        base[rows, columns] = np.rint(below * (1 - soft) + above * soft).clip(0, 255).astype(np.uint8)
        result = image.copy()
        window = result[region[1] : region[3], region[0] : region[2]]
        stay = None if keep is None else keep(region)
        if stay is not None:
            mixed = base.astype(np.float32) * (1 - stay[..., None]) + window * stay[..., None]
            base = np.rint(mixed).astype(np.uint8)
        window[:] = base
        return result

    def _with_jaw(
        self, frame: int, image: Image, axes: FaceAxes, face: Array, goal: Array, region: Roi
    ) -> Image:
        """The frame's own pixels of ``region`` with the jaw moved to its new place."""
        jaw = list(JAW)
        source, moved = axes.to_pixels(face[jaw]), axes.to_pixels(goal[jaw])
        cut = image[region[1] : region[3], region[0] : region[2]]
        if np.abs(moved - source).max() < _LEAST_MOVE:
            return cut.copy()
        fixed = np.concatenate(
            [
                axes.to_pixels(face[list(FIXED)]),
                self._heads.cheeks[frame],
                axes.to_pixels(face[jaw] + [0.0, _NECK]),
                _ring(region),
            ]
        )
        field = thin_plate(
            np.concatenate([source, fixed]),
            np.concatenate([moved, fixed]),
            region,
            _JAW_STEP * axes.unit,
            _JAW_SLACK,
        )
        x, y = pixel_grid(region)
        inner = np.minimum(
            np.minimum(x - region[0], region[2] - 1 - x), np.minimum(y - region[1], region[3] - 1 - y)
        )
        field *= np.clip(inner / (_FADE * axes.unit), 0, 1)[..., None]
        return pulled(image, field, region)

    def _overlay(
        self, frame: int, moment: int, axes: FaceAxes, goal: Array, spot: Roi, below: Picture, alpha: Map
    ) -> Picture:
        """The moment's mouth over ``spot``, (h, w, 3), bent, aligned, and lit like ``below``."""
        patch = self._bank.patches[moment]
        field = self._field(frame, moment, axes, goal, spot)
        if not self._is_own(frame, moment):
            # As sharp as what it is laid on: the flow is thrown off by a softer picture.
            seen = pulled(patch.picture, field, spot, patch.origin).astype(np.float32)
            weight = ((alpha > 0.01) & (alpha < 0.8)).astype(np.float32)
            field = field + Aligner()(below, lit(below, seen, alpha, axes.unit), weight, axes.unit)
        picture = pulled(patch.picture, field, spot, patch.origin).astype(np.float32)
        picture = lit(below, self._blurred(frame, moment, picture), alpha, axes.unit)
        return self._with_inside(moment, picture, axes, goal, spot)

    def _with_inside(self, moment: int, picture: Picture, axes: FaceAxes, goal: Array, spot: Roi) -> Picture:
        """The picture with an inside of the mouth that is drawn, where the moment's cannot be drawn out."""
        opening = Opening.of(goal)
        share = drawn_share(opening.gap, filmed_gap(self._shown_gap(moment)))
        if not share or not self._config.inside:
            return picture
        patch = self._bank.patches[moment]
        points = self._bank.heads.landmarks[moment][:, :2] - patch.origin
        inside, opacity = drawn_inside(*_in_face(axes, spot), opening, mouth_colours(patch.picture, points))
        return picture + (share * opacity)[..., None] * (inside - picture)

    def _is_own(self, frame: int, moment: int) -> bool:
        """Whether the moment is the frame itself."""
        return bool(np.allclose(self._heads.landmarks[frame], self._bank.heads.landmarks[moment]))

    def _blurred(self, frame: int, moment: int, picture: Picture) -> Picture:
        """Blurred along the frame's movement by as much as the moment moves less, where the frame is soft."""
        if self._sharpness is None or self._sharpness[frame] > _SOFT * self._bank.sharpness[moment]:
            return picture
        here, there = self._motion[frame], self._bank.motion[moment]
        length, had = float(np.hypot(*here)), float(np.hypot(*there))
        if length - had < _LEAST_BLUR:
            return picture
        return motion_blurred(picture, here * (_SHUTTER * (length - had) / length))

    def _field(self, frame: int, moment: int, axes: FaceAxes, goal: Array, spot: Roi) -> NDArray[np.float32]:
        """From pixels of ``spot`` to those of the moment's frame: two plates, parted at the lips."""
        heads, bank = self._heads, self._bank
        source, aim = bank.heads.landmarks[moment][:, :2], axes.to_pixels(goal)
        common = [*CORNERS, *JAW, *FIXED]
        cheeks = bank.heads.cheeks[moment], heads.cheeks[frame]
        slack = (_LIP_SLACK * axes.unit) ** 2
        plates = []
        for lips in (UPPER_LIP, LOWER_LIP):
            ids = [*lips, *common]
            start, end = (
                np.concatenate([points[ids], cheek])
                for points, cheek in zip((source, aim), cheeks, strict=True)
            )
            plates.append(thin_plate(start, end, spot, _LIP_STEP * axes.unit, slack))
        x, y = _in_face(axes, spot)
        shown = self._shown_gap(moment)
        split = self._split(moment) if self._config.inside else None
        share = lower_share(x, y, Opening.of(goal), shown, split)[..., None]
        return np.asarray(plates[0] * (1 - share) + plates[1] * share, np.float32)

    def _shown_gap(self, moment: int) -> float:
        points = self._bank.heads.landmarks[moment]
        upper, lower = (list(side) for side in zip(*INNER_LIP_PAIRS, strict=True))
        gaps = np.linalg.norm(points[lower, :2] - points[upper, :2], axis=1)
        return float(gaps.mean() / self._bank.heads.pose.scale[moment])

    def _split(self, moment: int) -> float:
        """Splitting line of the moment's open mouth."""
        patch = self._bank.patches[moment]
        points = self._bank.heads.landmarks[moment][:, :2] - patch.origin
        corners = np.array([points[61], points[63], points[65], points[67]], np.float32)
        width, height = _SPLIT_SIZE
        square = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
        matrix = cv2.getPerspectiveTransform(corners, square)
        inside = cv2.warpPerspective(patch.picture, matrix, _SPLIT_SIZE, borderMode=cv2.BORDER_REPLICATE)
        return splitting_line(np.asarray(inside, np.uint8))


def _mixed(overlays: list[_Overlay], axes: FaceAxes, goal: Array, spot: Roi) -> Picture:
    """Skin of all overlays, the mouth's inside of the heaviest one alone: rows of teeth never double."""
    if len(overlays) == 1:
        return overlays[0].picture
    skin = np.sum([o.weight * o.picture for o in overlays], axis=0)
    heaviest = max(overlays, key=lambda o: o.weight).picture
    contour = axes.to_pixels(goal[[60, 61, 62, 63, 64, 65, 66, 67]]) - np.array(spot[:2])
    inside = np.zeros(heaviest.shape[:2], np.uint8)
    cv2.fillPoly(inside, [np.rint(contour * 8).astype(np.int32)], (255,), cv2.LINE_AA, 3)
    grown = cv2.dilate(inside, np.ones((3, 3), np.uint8)).astype(np.float32) / 255
    share = cv2.GaussianBlur(grown, (0, 0), max(0.008 * axes.unit, 0.5))[..., None]
    return np.asarray(skin * (1 - share) + heaviest * share, np.float32)


def _mask(axes: FaceAxes, face: Array, goal: Array, region: Roi) -> tuple[Map, Roi | None]:
    """Opacity (h, w) of the new mouth over ``region``, and the part of ``region`` where it is not 0."""
    x, y = _in_face(axes, region)
    centre = goal[[48, 54]].mean(axis=0)
    half = 0.5 * abs(goal[54, 0] - goal[48, 0])
    top, bottom = face[33, 1] + _MASK_NOSE, goal[CHIN, 1] - _MASK_CHIN
    aside = np.abs(x - centre[0]) / max(_MASK_HALF, half + _MASK_BESIDE)
    height = np.where(
        y < centre[1],
        (centre[1] - y) / max(centre[1] - top, 0.05),
        (y - centre[1]) / max(bottom - centre[1], 0.05),
    )
    inside = aside**_MASK_POWER + height.clip(0) ** _MASK_POWER < 1
    outline = axes.to_pixels(np.concatenate([goal[:17], face[30:31]])) - np.array(region[:2])
    within = np.zeros(x.shape, np.uint8)
    cv2.fillPoly(within, [np.rint(outline).astype(np.int32)], (1,))
    radius = int(max(1, _MASK_INSIDE * axes.unit))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    region_mask = (inside & (cv2.erode(within, kernel) > 0)).astype(np.uint8)
    rows, columns = np.flatnonzero(region_mask.any(axis=1)), np.flatnonzero(region_mask.any(axis=0))
    if len(rows) < 4 or len(columns) < 4:
        return np.zeros(x.shape, np.float32), None
    distance = cv2.distanceTransform(region_mask, cv2.DIST_L2, 5)
    alpha = 0.5 - 0.5 * np.cos(np.pi * np.clip(distance / (_MASK_SOFT * axes.unit), 0, 1))
    spot = (
        region[0] + int(columns[0]),
        region[1] + int(rows[0]),
        region[0] + int(columns[-1]) + 1,
        region[1] + int(rows[-1]) + 1,
    )
    return alpha.astype(np.float32), spot


def _in_face(axes: FaceAxes, region: Roi) -> tuple[Map, Map]:
    """x and y of every pixel of ``region`` in the face's axes."""
    x, y = pixel_grid(region)
    x, y = x - np.float32(axes.origin[0]), y - np.float32(axes.origin[1])
    (ax, ay), (dx, dy) = axes.along / axes.unit, axes.down / axes.unit
    return (
        np.asarray(x * np.float32(ax) + y * np.float32(ay), np.float32),
        np.asarray(x * np.float32(dx) + y * np.float32(dy), np.float32),
    )


def _box(axes: FaceAxes, goal: Array, beside: float, above: float, below: float) -> Array:
    """x0, y0, x1, y1 of an upright box about the mouth."""
    centre = axes.to_pixels(goal[[48, 54]].mean(axis=0))
    reach = axes.unit * np.array([beside, above, beside, below])
    return np.concatenate([centre - reach[:2], centre + reach[2:]])


def _clipped(box: Array, image: Image) -> Roi | None:
    height, width = image.shape[:2]
    x0, y0 = max(0, int(box[0])), max(0, int(box[1]))
    x1, y1 = min(width, int(box[2])), min(height, int(box[3]))
    return (x0, y0, x1, y1) if x1 - x0 >= 8 and y1 - y0 >= 8 else None


def _ring(region: Roi) -> Array:
    """Points along the border of a region, which stay where they are."""
    xs, ys = np.linspace(region[0], region[2], 9), np.linspace(region[1], region[3], 9)
    sides = [
        [(x, y) for x in xs for y in (region[1], region[3])],
        [(x, y) for y in ys for x in (region[0], region[2])],
    ]
    return np.array([point for side in sides for point in side], np.float64)
