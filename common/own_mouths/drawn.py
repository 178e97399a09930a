"""The inside of a mouth that the clip never shows open: darkness, upper teeth, a tongue, in the face's light.

The last resort of own mouths. It is plain on purpose: a blurred row of teeth passes in speech, a wrong
drawing of single teeth does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from common.own_mouths.inside import Opening

Picture = NDArray[np.float32]
Map = NDArray[np.float32]

# Parts of the lips' colour: the cavity and the tongue, redder than these.
_CAVITY, _TONGUE = (share * np.array([1.0, 0.82, 0.82], np.float32) for share in (0.27, 0.6))
# Teeth: colour in white light of 1, most of their height (eye-corner distances), the share of the gap that
# they fill.
_TEETH = np.array([0.92, 0.87, 0.78], np.float32)
# Light: as bright as the brightest channel of skin, or so many times that of lips (a tan lowers the mean, not
# the light; a beard is darker than both). As red as this power of the skin's hue over that of pale skin in
# white light: how much of the hue is the skin's own is not known.
_SKIN, _HUE = np.array([1.0, 0.8, 0.7], np.float32), 0.5
_OF_LIPS = 1.15
_TEETH_BRIGHTEST = 215.0
_TEETH_HEIGHT, _TEETH_SHARE = 0.085, 0.5
# They end softly, are shaded below the lip over this depth, and fade towards the corners.
_SOFT, _SHADE_DEPTH, _SHADE = 0.016, 0.03, 0.6
_TONGUE_SHARE, _TONGUE_OPACITY = 0.5, 0.85
_FEATHER = 0.012
# The film's own inside gives way over so much of the gap: a drawn one late, a painted one as soon as it can.
_PASSAGE, _PAINTED_PASSAGE = 0.05, 0.02


@dataclass(frozen=True)
class MouthColours:
    """Colours of a clip's face, (3,) float32 each: its lips and its skin."""

    lips: NDArray[np.float32]
    skin: NDArray[np.float32]


def drawn_share(gap: float, filmed: float, painted: bool = False) -> float:
    """How far the inside is drawn (or ``painted``), 0 to 1: where the ``gap`` is larger than film can fill
    (``filmed``)."""
    return float(np.clip((gap - filmed) / (_PAINTED_PASSAGE if painted else _PASSAGE), 0, 1))


def drawn_inside(x: Map, y: Map, opening: Opening, colours: MouthColours) -> tuple[Picture, Map]:
    """The inside (h, w, 3) and its opacity (h, w), which is 0 outside of the lips' edges.

    Args:
        x, y: (h, w) pixels in the face's axes.
        opening: the gap.
        colours: of the face.
    """
    upper, lower = opening.edges(x)
    gap = np.maximum(lower - upper, 1e-4)
    left, right = opening.upper[[0, -1], 0]
    across = np.clip(np.abs(x - (left + right) / 2) / max((right - left) / 2, 1e-3), 0, 1)
    depth, rise = y - upper, lower - y
    picture = np.broadcast_to(_CAVITY * colours.lips, (*x.shape, 3)).astype(np.float32)
    tongue = _TONGUE_OPACITY * _step(_TONGUE_SHARE * gap - rise, 0.5 * _TONGUE_SHARE * gap + 1e-3)
    picture = _over(picture, _TONGUE * colours.lips, tongue * (1 - across**2))
    height = np.minimum(_TEETH_SHARE * gap, _TEETH_HEIGHT * (1 - 0.35 * across**2))
    teeth = _step(height - depth, np.full_like(x, _SOFT)) * (1 - across**4)
    light = _light(colours)
    shade = 1 - (1 - _SHADE) * np.clip(1 - depth / _SHADE_DEPTH, 0, 1) ** 2
    shade = shade * (1 - 0.4 * across**2)
    # The lip's shadow has the lip's colour.
    shaded = _over(light * _TEETH, _CAVITY * colours.lips, 1 - shade)
    picture = _over(picture, shaded, teeth)
    inside = np.minimum(depth, rise) / _FEATHER
    opacity = np.clip(inside, 0, 1) * (opening.beyond(x) <= 0)
    return picture, np.asarray(opacity, np.float32)


def between_rows(
    picture: Picture, drawn_out: Map, colour: NDArray[np.float32], colours: MouthColours
) -> Picture:
    """A picture (h, w, 3) in which what is ``drawn_out`` (h, w) is no brighter than what lies between rows.

    One line of film is drawn out there: a tooth that it crosses would be a stripe.

    Args:
        colour: (3,) of the :class:`common.own_mouths.parting.Parting`. It is held to the brightness of a
            tongue, and the less red it is, the nearer to that of a dark mouth: rows that bite show no dark.
        colours: of the face.
    """
    left, top, width, height = cv2.boundingRect((drawn_out > 0).astype(np.uint8))
    if not width:
        return picture
    box = (slice(top, top + height), slice(left, left + width))
    dark = _TONGUE + _toothlike(colour, colours) * (_CAVITY - _TONGUE)
    most = colour * min(1.0, float((dark * colours.lips).mean() / max(colour.mean(), 1)))
    film, result = picture[box], picture.copy()
    result[box] += drawn_out[box][..., None] * (np.minimum(film, most) - film)
    return result


def mouth_colours(picture: NDArray[np.uint8], points: NDArray[np.float64]) -> MouthColours:
    """Colours of the face that a patch shows.

    Args:
        picture: (h, w, 3) uint8.
        points: (68, 2) landmarks in its pixels.
    """
    # The lower lip alone: a moustache hangs over the upper one.
    lips = [0.5 * (points[outer] + points[inner]) for outer, inner in ((56, 66), (57, 66), (58, 66))]
    skin = [0.5 * (points[side] + points[30]) for side in (31, 33, 35)]
    skin += [points[33] + share * (points[51] - points[33]) for share in (0.3, 0.5, 0.7)]
    skin += [points[57] + share * (points[8] - points[57]) for share in (0.4, 0.6)]
    skin += [0.5 * (points[corner] + points[jaw]) for corner, jaw in ((48, 4), (54, 12))]
    return MouthColours(_median(picture, lips), _median(picture, skin, 0.5))


def _median(
    picture: NDArray[np.uint8], places: list[NDArray[np.float64]], brightest: float = 1.0
) -> NDArray[np.float32]:
    """(3,) median colour about some places; of this share of ``brightest`` pixels: what is darker is hair."""
    height, width = picture.shape[:2]
    found = []
    for place in places:
        column, row = np.rint(place).astype(int)
        part = picture[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
        if 0 <= row < height and 0 <= column < width and part.size:
            found.append(part.reshape(-1, 3))
    values = np.concatenate(found) if found else picture.reshape(-1, 3)
    values = values[np.argsort(values.sum(axis=1))[-max(1, int(brightest * len(values))) :]]
    return np.asarray(np.median(values, axis=0), np.float32)


def _light(colours: MouthColours) -> NDArray[np.float32]:
    """(3,) levels of white in the light of the face."""
    level = float(np.maximum(colours.skin, _OF_LIPS * colours.lips).max())
    hue = np.minimum(colours.skin / np.maximum(colours.skin.max(), 1) / _SKIN, 1) ** _HUE
    return np.asarray(min(level, _TEETH_BRIGHTEST / float(_TEETH.max())) * hue, np.float32)


def _toothlike(colour: NDArray[np.float32], colours: MouthColours) -> float:
    """0 for a colour (3,) as red as the lips, or redder, to 1 for one that is no redder than skin."""
    pale, lips, skin = (float(c[1:].mean() / max(c[0], 1)) for c in (colour, colours.lips, colours.skin))
    return float(np.clip((pale - lips) / max(skin - lips, 0.05), 0, 1))


def _step(value: Map, width: Map) -> Map:
    """0 below 0, 1 above ``width``, smooth between."""
    share = np.clip(value / width, 0, 1)
    return np.asarray(share * share * (3 - 2 * share), np.float32)


def _over(picture: Picture, colour: Picture, opacity: Map) -> Picture:
    return np.asarray(picture + opacity[..., None] * (colour - picture), np.float32)
