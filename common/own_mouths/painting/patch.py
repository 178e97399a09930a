"""What a painter of insides sees: a patch about the mouth in the face's axes, and what is known there.

Training and dubbing cut the same patch and compute the same planes. The network never sees the lips
themselves: when lips that were filmed closed are parted, their rims are stretched skin, which no training
clip has, and painted lips would colour the teeth. It sees the smooth colours of the skin about the mouth,
where the lips' edges are, how the head is held and how sharp the film is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from common.face.layout import OUTER_LIP
from common.face.masks import widen
from common.own_mouths.frame import FaceAxes
from common.own_mouths.inside import Opening
from common.own_mouths.region import filled

Array = NDArray[np.float64]
Picture = NDArray[np.float32]
Map = NDArray[np.float32]

WIDTH, HEIGHT = 96, 64
"""Pixels of a patch; the widest mouths are 0.7 eye-corner distances wide and 0.45 high."""
UNIT = 128.0
"""Pixels of a patch per eye-corner distance."""
PLANES = 12
"""What is known at each pixel, in this order: three smooth colours of the skin, the mask, heights below the
upper and above the lower lip, place between the corners, place in the face (2), logarithm of the film's
sharpness, yaw and pitch."""

COLOURS = "skin"
"""Whose colours are told; painters say in their configuration which they learnt from."""

# The mask reaches beyond the landmarks' edges, which are known to about this, and ends softly.
_GROW, _SOFT = 2, 0.8
# Colours of the skin: so many pixels from the lips on, and so smooth (pixels).
_FROM_LIPS, _SMOOTH = 3, 16.0
# Scales that bring planes to about -1 to 1.
_HEIGHT_SCALE, _PLACE_SCALE, _PLACE_DOWN = 4.0, 2.0, 0.65
# Sharpness is told within these bounds; fine film has at least so much.
_SHARPNESS, _FINE = (0.5, 1.5), 1.0
# How a head is held, and how far down its mouth is, are told within these bounds (radians; eye-corner
# distances): of yaw those of nearly all frames with open mouths, of the others of 19 in 20. Farther out a
# painter knows little: of a face that nods by 0.5 rad it painted green teeth.
_YAW, _PITCH, _DOWN = (-0.6, 0.6), (-0.3, 0.05), (0.6, 0.77)
# Film that is finer than the patch is blurred by this part of a pixel before it is sampled.
_ANTIALIAS = 0.45


@dataclass(frozen=True)
class InsidePatch:
    """A patch in a frame.

    Attributes:
        axes: of the face.
        centre: (2,) the middle between the inner corners of the lips, eye-corner distances.
        size: (width, height) in pixels; larger ones have the same scale.
    """

    axes: FaceAxes
    centre: Array
    size: tuple[int, int] = (WIDTH, HEIGHT)

    @classmethod
    def of(cls, axes: FaceAxes, face: Array, size: tuple[int, int] = (WIDTH, HEIGHT)) -> InsidePatch:
        """About the mouth of a face (68, 2) in its axes."""
        return cls(axes, face[[60, 64]].mean(axis=0), size)

    @property
    def matrix(self) -> Array:
        """(2, 3) from pixels of the patch to pixels of the frame."""
        corner = self.centre - (np.array(self.size) - 1) / 2 / UNIT
        scale = self.axes.unit / UNIT
        across, down = self.axes.along * scale, self.axes.down * scale
        return np.column_stack([across, down, self.axes.to_pixels(corner)])

    def cut(self, image: NDArray, origin: tuple[int, int] = (0, 0)) -> NDArray:
        """The patch of an image (h, w, 3) whose first pixel is ``origin`` of the frame; edges go on."""
        sigma = _ANTIALIAS * self.axes.unit / UNIT
        if self.axes.unit > UNIT:
            image = cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(
            image, self._from(origin), self.size, flags=flags, borderMode=cv2.BORDER_REPLICATE
        )

    def lay(self, picture: NDArray, size: tuple[int, int], origin: tuple[int, int] = (0, 0)) -> NDArray:
        """A picture (HEIGHT, WIDTH[, 3]) over (width, height) pixels of the frame; 0 around it."""
        return cv2.warpAffine(picture, self._from(origin), size, flags=cv2.INTER_CUBIC)

    def _from(self, origin: tuple[int, int]) -> Array:
        matrix = self.matrix
        matrix[:, 2] -= origin
        return matrix


@dataclass(frozen=True)
class MouthView:
    """What is known about a patch beside its colours.

    Attributes:
        opening: the lips' edges, in the face's axes.
        lips: (12, 2) the outline of the lips likewise.
        jaw: (17, 2) the outline of the jaw likewise, from ear to ear: beyond it is no skin of the face.
        centre: (2,) of the patch likewise.
        yaw, pitch: radians.
        sharpness: pixels of the film per pixel of the patch.
    """

    opening: Opening
    lips: Array
    jaw: Array
    centre: Array
    yaw: float
    pitch: float
    sharpness: float

    @classmethod
    def of(cls, face: Array, centre: Array, angles: Array, sharpness: float) -> MouthView:
        """Of a face (68, 2) in its axes, whose head has the ``angles`` (2 or more), radians."""
        outlines = face[list(OUTER_LIP)], face[:17]
        return cls(Opening.of(face), *outlines, centre, float(angles[0]), float(angles[1]), sharpness)

    def fine(self) -> MouthView:
        """The same, told to be of fine film, as dubs tell it whatever the film is.

        A painter has learnt that insides are smears in coarse film. Of fine film it paints teeth, and laying
        them into coarse frames makes them as coarse.
        """
        return replace(self, sharpness=max(self.sharpness, _FINE))

    def mirrored(self) -> MouthView:
        """Of the mirrored picture."""
        flip = np.array([-1.0, 1.0])
        opening = Opening(self.opening.upper[::-1] * flip, self.opening.lower[::-1] * flip)
        lips, jaw, centre = self.lips * flip, self.jaw * flip, self.centre * flip
        return MouthView(opening, lips, jaw, centre, -self.yaw, self.pitch, self.sharpness)


def known(patch: Picture, view: MouthView) -> tuple[Picture, Map]:
    """What a painter is told.

    Args:
        patch: (HEIGHT, WIDTH, 3) in 0 to 1; what lies within the lips does not count.
        view: of it.

    Returns:
        (PLANES, HEIGHT, WIDTH) float32, and (HEIGHT, WIDTH) the mask of what is to be painted, 0 to 1: the
        gap between the lips, grown by 1/64 eye-corner distance.
    """
    x, y = _places(view.centre)
    upper, lower = view.opening.edges(x)
    left, right = view.opening.upper[[0, -1], 0]
    middle, half = (left + right) / 2, max((right - left) / 2, 1 / UNIT)
    mask = _mask(view)

    def even(value: float) -> Map:
        return np.full_like(x, value)

    planes = [
        np.clip(_HEIGHT_SCALE * (y - upper), -1, 1.5),
        np.clip(_HEIGHT_SCALE * (lower - y), -1, 1.5),
        np.clip((x - middle) / half, -1.5, 1.5),
        _PLACE_SCALE * x,
        _PLACE_SCALE * (y - _PLACE_DOWN + np.clip(view.centre[1], *_DOWN) - view.centre[1]),
        even(np.log2(np.clip(view.sharpness, *_SHARPNESS))),
        even(np.clip(view.yaw, *_YAW)),
        even(np.clip(view.pitch, *_PITCH)),
    ]
    colours = _skin(patch, view, mask).transpose(2, 0, 1)
    return np.concatenate([colours, mask[None], np.stack(planes)]).astype(np.float32), mask


def _places(centre: Array) -> tuple[Map, Map]:
    """(HEIGHT, WIDTH) each: x and y of a patch's pixels in the face's axes."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    x = centre[0] + (columns - (WIDTH - 1) / 2) / UNIT
    y = centre[1] + (rows - (HEIGHT - 1) / 2) / UNIT
    return np.asarray(x, np.float32), np.asarray(y, np.float32)


def _mask(view: MouthView) -> Map:
    gap = _filled(np.concatenate([view.opening.upper, view.opening.lower[::-1]]), view)
    return np.asarray(cv2.GaussianBlur(widen(gap, _GROW), (0, 0), _SOFT), np.float32) / 255


def _filled(outline: Array, view: MouthView) -> NDArray[np.uint8]:
    """(HEIGHT, WIDTH): 255 within an outline (n, 2) in the face's axes."""
    pixels = (outline - view.centre) * UNIT + np.array([(WIDTH - 1) / 2, (HEIGHT - 1) / 2])
    return filled(pixels, (HEIGHT, WIDTH))


def _skin(patch: Picture, view: MouthView, mask: Map) -> Picture:
    """(HEIGHT, WIDTH, 3): means of the colours of the skin about each pixel."""
    # Of a head that nods the patch reaches beyond the chin, to the shadow on the neck.
    above = view.jaw[[0, -1]] * [1, 0] + [0, view.centre[1] - HEIGHT / UNIT]
    face = _filled(np.concatenate([above[:1], view.jaw, above[1:]]), view) > 0
    lips = widen(_filled(view.lips, view), _FROM_LIPS) > 0
    kept = (face & ~lips & (mask == 0)).astype(np.float32)
    total = cv2.GaussianBlur(patch * kept[..., None], (0, 0), _SMOOTH)
    share = cv2.GaussianBlur(kept, (0, 0), _SMOOTH)[..., None]
    usual = (patch * kept[..., None]).sum(axis=(0, 1)) / max(float(kept.sum()), 1.0)
    # Far from all skin its mean stands in.
    least = 1e-2
    return np.asarray((total + least * usual) / (share + least), np.float32)
