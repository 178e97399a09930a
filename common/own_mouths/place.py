"""Laying a moment's mouth into a frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from common.face.layout import JAW
from common.own_mouths.bank import Bank, head_motion
from common.own_mouths.config import OwnMouthsConfig
from common.own_mouths.drawn import between_rows, drawn_inside, drawn_share
from common.own_mouths.frame import FaceAxes
from common.own_mouths.goal import (
    CORNERS,
    LOWER_LIP,
    UPPER_LIP,
    change_to_predicted,
    filmed_gap,
    frontality,
    goal_face,
)
from common.own_mouths.heads import Heads
from common.own_mouths.inside import Opening, plate_shares
from common.own_mouths.moments import moments_of
from common.own_mouths.plan import MouthPlan
from common.own_mouths.plates import Field, Roi, pulled, shifted, thin_plate, thin_plates
from common.own_mouths.region import MouthMask, filled, in_face, mouth_mask, mouth_region
from common.own_mouths.reliability import Reliability, film_share, reliability_of
from common.own_mouths.skin import Aligner, lit, motion_blurred

if TYPE_CHECKING:
    from common.own_mouths.painting.painter import InsidePainter

Array = NDArray[np.float64]
Image = NDArray[np.uint8]
Picture = NDArray[np.float32]
Map = NDArray[np.float32]

Keep = Callable[[Roi], Map | None]

# What does not move with the mouth: temples, brows, nose, eyes.
FIXED = (0, 1, 15, 16, *range(17, 48))
# The lips of either plate, and what both go through.
_PLATES_POINTS = [*UPPER_LIP, *LOWER_LIP, *CORNERS, *JAW, *FIXED]

# The jaw's movement fades to 0 at this distance from the region's border, and is nothing this far below it.
_FADE, _NECK = 0.12, 0.45
# Grids of the plates, eye-corner distances; smoothing of the lips' plate likewise.
_JAW_STEP, _LIP_STEP, _LIP_SLACK = 0.1, 0.05, 0.003
_JAW_SLACK = 0.5  # square pixels
_LEAST_MOVE = 0.3  # pixels
_STILL = 1 / 64  # pixels
# A shutter is open half of the time between frames; a movement beyond this many pixels shows.
_SHUTTER, _LEAST_BLUR = 0.5, 2.0
# A frame is soft where it has less than this share of a moment's sharpness: film short of light, not a
# drawing that moves.
_SOFT = 0.6


@dataclass(frozen=True)
class _Aim:
    """Where one frame's new mouth goes.

    Attributes:
        frame: its number.
        axes: of its face.
        goal: (68, 2) its new face in these axes.
        opening: the gap between the lips of the goal.
        mask: where the mouth is laid.
        below: (h, w, 3) the frame over the mask's spot, its jaw moved.
        luma: (h, w) its luma.
    """

    frame: int
    axes: FaceAxes
    goal: Array
    opening: Opening
    mask: MouthMask
    below: Picture
    luma: Map


@dataclass(frozen=True)
class _Overlay:
    """A moment's mouth over the mask's spot.

    Attributes:
        picture: (h, w, 3).
        off: (2,) pixels by which its lips lie off the aim's, since they follow the skin about them.
        unfilmed: maps (h, w), 0 to 1, of what of it no film shows.
    """

    picture: Picture
    off: Array
    unfilmed: tuple[Map, ...]


@dataclass(frozen=True)
class DrawnFrame:
    """A frame with a new mouth.

    Attributes:
        image: (H, W, 3) uint8.
        reliability: of its pixels; None where nobody asked, or no mouth was laid in.
    """

    image: Image
    reliability: Reliability | None = None


class FramePlacer:
    """Draws frames of one clip; calls do not depend on each other and may run at once.

    Args:
        heads: of the clip's frames, N.
        bank: the moments.
        plan: for the N frames.
        config: what is done.
        sharpness: (N,) of the frames, as :attr:`Bank.sharpness`; None: blur is not matched.
        painter: of insides that no film can fill; None: they are drawn.
    """

    def __init__(
        self,
        heads: Heads,
        bank: Bank,
        plan: MouthPlan,
        config: OwnMouthsConfig,
        sharpness: Array | None = None,
        painter: InsidePainter | None = None,
    ) -> None:
        self._heads, self._bank, self._plan, self._config = heads, bank, plan, config
        self._painter = painter
        self._moments = moments_of(bank)
        self._sharpness = sharpness
        self._motion = head_motion(heads.landmarks)
        # Between runs a head does not move, it is elsewhere.
        self._motion[1:][np.diff(plan.runs) != 0] = 0.0

    def __call__(
        self, frame: int, image: Image, keep: Keep | None = None, reliability: bool = False
    ) -> DrawnFrame:
        """Frame ``frame`` with the mouth that the plan gives it.

        Args:
            frame: 0 to N - 1.
            image: (H, W, 3) uint8 source frame.
            keep: gives (h, w) float32 for a region of the frame, 1 where something lies before the face that
                must stay, or None where nothing does; None: not asked.
            reliability: whether to say how far its pixels can be relied on.

        Returns:
            A copy, equal to the source outside of the region about the mouth.
        """
        heads, bank = self._heads, self._bank
        own = heads.points(frame)
        unit = float(heads.pose.scale[frame])
        axes = FaceAxes.of(own, unit)
        face = axes.to_face(own[:, :2])
        moments, weights = self._shown(frame)
        faces = np.stack([axes.to_face(bank.heads.turned(m, heads, frame)) for m in moments])
        turned = np.einsum("m,mpc->pc", weights, faces)
        change = self._change(frame, weights @ bank.shapes[moments])
        goal = goal_face(face, turned, change, float(frontality(heads.angles[frame, 0])))
        region = mouth_region(axes, goal, image.shape)
        mask = None if region is None else mouth_mask(axes, face, goal, region)
        if region is None or mask is None:
            return DrawnFrame(image.copy())
        base = self._with_jaw(frame, image, axes, face, goal, region)
        x0, y0, x1, y1 = mask.spot
        spot = base[y0 - region[1] : y1 - region[1], x0 - region[0] : x1 - region[0]]
        below, luma = (x.astype(np.float32) for x in (spot, cv2.cvtColor(spot, cv2.COLOR_RGB2GRAY)))
        aim = _Aim(frame, axes, goal, Opening.of(goal), mask, below, luma)
        overlays = [self._overlay(aim, moment) for moment in moments]
        spot[:] = _laid(_mixed(overlays, weights, aim), below, mask.alpha)
        result = image.copy()
        window = result[region[1] : region[3], region[0] : region[2]]
        stay = None if keep is None else keep(region)
        window[:] = base if stay is None else _laid(window, base, stay)
        if not reliability:
            return DrawnFrame(result)
        opacity = mask.alpha
        if stay is not None:
            opacity = opacity * (1 - stay[y0 - region[1] : y1 - region[1], x0 - region[0] : x1 - region[0]])
        inside = overlays[int(weights.argmax())].unfilmed
        return DrawnFrame(result, reliability_of(mask.spot, opacity, inside, self._film_share(frame)))

    def lip_shape(self, frame: int) -> Array:
        """(7,) to which frame ``frame`` is bent: the wanted one, of predicted outer lips what is believed."""
        moments, weights = self._shown(frame)
        measured = np.asarray(weights @ self._bank.shapes[moments], np.float64)
        change = self._change(frame, measured)
        return measured if change is None else measured + change

    def _film_share(self, frame: int) -> float:
        """How near what a frame shows is to what is wanted of it, 0 to 1."""
        bank, (moments, weights) = self._bank, self._shown(frame)
        shown = bank.shapes[moments], bank.heads.angles[moments]
        return film_share(self._plan.wanted[frame], self._heads.angles[frame], *shown, weights)

    def _shown(self, frame: int) -> tuple[list[int], Array]:
        """The moments that a frame shows, and with which weights."""
        shown = self._plan.shown(frame, self._bank)
        return [moment for moment, _ in shown], np.array([weight for _, weight in shown])

    def _change(self, frame: int, measured: Array) -> Array | None:
        """(7,) from the lip shape ``measured`` of what a frame shows to the one that it is bent to; None: it
        stays as it was filmed."""
        if not self._config.warp:
            return None
        change = self._plan.wanted[frame] - measured
        return change_to_predicted(change) if self._config.calibrate else change

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
        field *= np.clip(_from_border(field.shape[1:]) / np.float32(_FADE * axes.unit), 0, 1)
        base = cut.copy()
        # Resampling knows 1/32 pixel: what moves by less than half of that comes out as it went in.
        reach = np.abs(field).max(axis=0)
        left, top, width, height = cv2.boundingRect((reach >= _STILL).astype(np.uint8))
        if width:
            rows, columns = slice(top, top + height), slice(left, left + width)
            x, y = region[0] + left, region[1] + top
            # Chin and cheeks have no edges as fine as those of lips and teeth.
            box = (x, y, x + width, y + height)
            base[rows, columns] = pulled(image, field[:, rows, columns], box, resampling=cv2.INTER_CUBIC)
        return base

    def _overlay(self, aim: _Aim, number: int) -> _Overlay:
        """The moment's mouth, bent, aligned, and lit like what is below."""
        moment, unit = self._moments[number], aim.axes.unit
        spot, alpha = aim.mask.spot, aim.mask.alpha
        patch = moment.patch
        field, drawn_out = self._field(aim, number)
        off = np.zeros(2)
        if not self._is_own(aim.frame, number):
            # As sharp as what it is laid on: the flow is thrown off by a softer picture.
            seen = pulled(moment.luma, field, spot, patch.origin).astype(np.float32)
            weight = ((alpha > 0.01) & (alpha < 0.8)).astype(np.float32)
            flow = Aligner()(aim.luma, lit(aim.luma, seen, alpha, unit), weight, unit)
            # Lips and the line at which rows part move with the skin, all by the same.
            *plates, drawn_out = shifted(np.stack([*field, drawn_out]), flow)
            field = plates + flow
            off = -_at(flow, aim.axes.to_pixels(aim.goal[[48, 54]].mean(axis=0)) - spot[:2])
        picture = pulled(patch.picture, field, spot, patch.origin).astype(np.float32)
        if self._config.inside:
            picture = between_rows(picture, drawn_out, moment.parting.colour, moment.colours)
        picture = lit(aim.below, self._blurred(aim.frame, number, picture), alpha, unit)
        picture, painted = self._with_inside(aim, number, picture, off)
        return _Overlay(picture, off, (drawn_out,) if painted is None else (drawn_out, painted))

    def _with_inside(
        self, aim: _Aim, number: int, picture: Picture, off: Array
    ) -> tuple[Picture, Map | None]:
        """The picture with an inside of the mouth that is painted, where the moment's cannot be drawn out.

        And how opaque that is, (h, w); None: nothing is painted.
        """
        moment = self._moments[number]
        share = drawn_share(aim.opening.gap, filmed_gap(moment.gap), self._painter is not None)
        if not share or not self._config.inside:
            return picture, None
        axes = replace(aim.axes, origin=aim.axes.origin + off)
        if self._painter is None:
            inside, opacity = drawn_inside(*in_face(axes, aim.mask.spot), aim.opening, moment.colours)
        else:
            angles = self._heads.angles[aim.frame]
            seen = moment.tone.of_skin(picture)
            inside, opacity = self._painter(seen, aim.mask.spot[:2], axes, aim.goal, angles)
            inside = self._blurred(aim.frame, number, inside)
        inside = moment.tone.of_film(inside)
        painted = share * opacity
        return picture + painted[..., None] * (inside - picture), painted

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

    def _field(self, aim: _Aim, number: int) -> tuple[Field, Map]:
        """From pixels of the mask's spot to those of the moment's frame: two plates, parted at the lips.

        And how far each pixel is drawn out (:func:`common.own_mouths.inside.plate_shares`).
        """
        moment, unit = self._moments[number], aim.axes.unit
        source, goal = (
            np.concatenate([points[_PLATES_POINTS], cheeks[place]])
            for points, cheeks, place in (
                (moment.landmarks[:, :2], self._bank.heads.cheeks, number),
                (aim.axes.to_pixels(aim.goal), self._heads.cheeks, aim.frame),
            )
        )
        above, both = len(UPPER_LIP), len(UPPER_LIP) + len(LOWER_LIP)
        members = [np.r_[:above, both : len(goal)], np.r_[above : len(goal)]]
        slack = (_LIP_SLACK * unit) ** 2
        upper, lower = thin_plates(source, goal, members, aim.mask.spot, _LIP_STEP * unit, slack)
        parting = moment.parting if self._config.inside else None
        share, drawn_out = plate_shares(aim.mask.x, aim.mask.y, aim.opening, moment.gap, parting)
        return np.asarray(upper * (1 - share) + lower * share, np.float32), drawn_out


def _mixed(overlays: list[_Overlay], weights: Array, aim: _Aim) -> Picture:
    """Skin of all overlays, the mouth's inside of the heaviest one alone: rows of teeth never double."""
    if len(overlays) == 1:
        return overlays[0].picture
    skin = np.sum([w * o.picture for w, o in zip(weights, overlays, strict=True)], axis=0)
    heaviest = overlays[int(weights.argmax())]
    lips = aim.axes.to_pixels(aim.goal[[60, 61, 62, 63, 64, 65, 66, 67]])
    contour = lips + heaviest.off - np.array(aim.mask.spot[:2])
    inside = filled(contour, skin.shape[:2])
    grown = cv2.dilate(inside, np.ones((3, 3), np.uint8)).astype(np.float32) / 255
    share = _coloured(
        np.asarray(cv2.GaussianBlur(grown, (0, 0), max(0.008 * aim.axes.unit, 0.5)), np.float32)
    )
    return np.asarray(skin * (1 - share) + heaviest.picture * share, np.float32)


def _at(planes: Field, place: Array) -> Array:
    """(C,) of planes (C, h, w) at the pixel nearest to a place (x, y)."""
    height, width = planes.shape[1:]
    column, row = np.clip(np.rint(place).astype(int), 0, [width - 1, height - 1])
    return np.asarray(planes[:, row, column], np.float64)


def _laid(above: Image | Picture, below: Image | Picture, opacity: Map) -> Image:
    """(h, w, 3) uint8: a picture (h, w, 3) over another, with an opacity (h, w)."""
    share = _coloured(opacity)
    return np.asarray(cv2.add(below * (1 - share), above * share, dtype=cv2.CV_8U), np.uint8)


def _coloured(weight: Map) -> Picture:
    """(h, w, 3): a weight (h, w) for pictures. NumPy spreads an axis of three slowly."""
    return np.asarray(cv2.cvtColor(weight, cv2.COLOR_GRAY2RGB), np.float32)


def _from_border(size: tuple[int, ...]) -> Map:
    """(h, w) pixels from the nearest border."""
    x, y = (np.minimum(np.arange(n), np.arange(n)[::-1]).astype(np.float32) for n in size[::-1])
    return np.minimum(x, y[:, None])


def _ring(region: Roi) -> Array:
    """Points along the border of a region, which stay where they are."""
    xs, ys = np.linspace(region[0], region[2], 9), np.linspace(region[1], region[3], 9)
    sides = [
        [(x, y) for x in xs for y in (region[1], region[3])],
        [(x, y) for y in ys for x in (region[0], region[2])],
    ]
    return np.array([point for side in sides for point in side], np.float64)
