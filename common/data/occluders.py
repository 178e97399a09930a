"""Things that pass in front of a face, drawn by a few lines of code: ellipses, bars, hands with fingers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from common.data.photometric import Picture

Points = NDArray[np.float64]
Draw = Callable[[NDArray[np.uint8], Points, float, float], None]
"""(canvas, centre in pixels, angle, length in pixels): paints the shape with 255."""

# cv2 takes sub-pixel coordinates in 1/16 px.
_BITS = 4
# Hands and common things: skin from light to dark, cloth, plastic; RGB.
_COLOURS = ((236, 200, 178), (198, 150, 120), (120, 80, 60), (70, 48, 40), (40, 44, 52), (220, 220, 215))
_KINDS = ("ellipse", "bar", "fingers")


@dataclass(frozen=True)
class Occluder:
    """A shape that moves across a picture, a change of it.

    Attributes:
        draw: paints it.
        place: frame number -> its centre in pixels and its angle.
        length: pixels.
        colour: (3,), and how it changes along x and y: shade (2,).
        soft: deviation of its edge, pixels.
        opacity: 0 to 1.
    """

    draw: Draw
    place: Callable[[int], tuple[Points, float]]
    length: float
    colour: NDArray[np.float32]
    shade: NDArray[np.float32]
    soft: float
    opacity: float

    def __call__(self, number: int, picture: Picture) -> Picture:
        """The picture (S, S, 3) with it."""
        alpha = self.alpha(number, picture.shape)[..., None]
        centre, _ = self.place(number)
        y, x = np.mgrid[: picture.shape[0], : picture.shape[1]].astype(np.float32)
        slope = self.shade[0] * (x - centre[0]) / self.length + self.shade[1] * (y - centre[1]) / self.length
        thing = self.colour * (1 + slope.clip(-0.4, 0.4))[..., None]
        return np.asarray(picture + (thing - picture) * alpha, np.float32)

    def alpha(self, number: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """(S, S) how opaque it is over a picture of this shape, 0 to 1."""
        canvas = np.zeros(shape[:2], np.uint8)
        centre, angle = self.place(number)
        self.draw(canvas, centre, angle, self.length)
        blurred = cv2.GaussianBlur(canvas, (0, 0), self.soft).astype(np.float32)
        return np.asarray(blurred * (self.opacity / 255), np.float32)


def occlude(rng: np.random.Generator, length: float, frames: int, side: int) -> Occluder:
    """A shape of ``length`` pixels that moves across a picture of ``side`` pixels, the same on every video.

    Its path is a slow line with a sway, its angle swings, and it may lie partly outside the picture.
    """
    draw = _shape(rng)
    start, end = (rng.uniform(0.1, 0.9, 2) * side for _ in range(2))
    sway, turn = rng.normal(0, 0.05 * side, 2), rng.normal(0, 0.3)
    angle, phase, beats = rng.uniform(0, 2 * np.pi), rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 1.5)
    colour = np.array(_COLOURS[rng.integers(len(_COLOURS))], np.float32) * rng.uniform(0.8, 1.15)
    shade = rng.normal(0, 0.25, 2).astype(np.float32)
    soft = max(0.5, 0.006 * side * rng.uniform(0.5, 2.0))
    opacity = float(rng.uniform(0.9, 1.0))

    def place(number: int) -> tuple[Points, float]:
        share = number / max(frames - 1, 1)
        swing = np.sin(phase + 2 * np.pi * beats * share)
        return start + (end - start) * share + sway * swing, angle + turn * swing

    return Occluder(draw, place, length, colour, shade, soft, opacity)


def _shape(rng: np.random.Generator) -> Draw:
    kind = _KINDS[rng.integers(len(_KINDS))]
    if kind == "ellipse":
        return _ellipse(float(rng.uniform(0.4, 1.0)))
    if kind == "bar":
        return _bar(float(rng.uniform(0.12, 0.35)))
    return _fingers(int(rng.integers(2, 5)), rng.uniform(0.8, 1.0, 4), float(rng.uniform(0.0, 0.12)))


def _ellipse(ratio: float) -> Draw:
    def draw(canvas: NDArray[np.uint8], centre: Points, angle: float, length: float) -> None:
        round_ = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        outline = np.stack([np.cos(round_), ratio * np.sin(round_)], axis=1) * length / 2
        _fill(canvas, outline, centre, angle)

    return draw


def _bar(ratio: float) -> Draw:
    """Much longer than wide: a microphone's stand, a pen, a strap."""

    def draw(canvas: NDArray[np.uint8], centre: Points, angle: float, length: float) -> None:
        corners = np.array([[-1, -ratio], [1, -ratio], [1, ratio], [-1, ratio]]) * length
        _fill(canvas, corners, centre, angle)

    return draw


def _fingers(count: int, lengths: NDArray[np.float64], spread: float) -> Draw:
    """A palm and ``count`` fingers, fanned out by ``spread`` from one to the next."""

    def draw(canvas: NDArray[np.uint8], centre: Points, angle: float, length: float) -> None:
        width = 0.16 * length
        for i in range(count):
            offset = i - (count - 1) / 2
            fan = offset * spread
            foot = np.array([0.0, offset * 1.15 * width])
            tip = foot + np.array([np.cos(fan), np.sin(fan)]) * lengths[i] * 0.6 * length
            _fill(canvas, _capsule(foot, tip, width / 2), centre, angle)
        reach = np.array([[-0.45 * length, 0.0], [0.0, 0.0]])
        _fill(canvas, _capsule(reach[0], reach[1], 0.6 * count * width), centre, angle)

    return draw


def _capsule(begin: Points, end: Points, radius: float) -> Points:
    """Outline of a thick line with round ends."""
    direction = np.arctan2(*(end - begin)[::-1])
    ends = []
    for point, side in ((end, 0.0), (begin, np.pi)):
        round_ = direction + side + np.linspace(-np.pi / 2, np.pi / 2, 12)
        ends.append(point + radius * np.stack([np.cos(round_), np.sin(round_)], axis=1))
    return np.concatenate(ends)


def _fill(canvas: NDArray[np.uint8], outline: Points, centre: Points, angle: float) -> None:
    cos, sin = np.cos(angle), np.sin(angle)
    turned = outline @ np.array([[cos, sin], [-sin, cos]]) + centre
    corners = np.round(turned * (1 << _BITS)).astype(np.int32)
    cv2.fillPoly(canvas, [corners], (255,), lineType=cv2.LINE_AA, shift=_BITS)
