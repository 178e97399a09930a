"""Making a piece of skin fit where it is laid: its light, its place to the pixel, its blur."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.float32]
Map = NDArray[np.float32]

# Spread of the light's correction and of the alignment, eye-corner distances.
_LIGHT_SPREAD, _FLOW_SPREAD = 0.22, 0.14
_FLOW_REACH = 0.03
_LEAST_SIDE = 12  # pixels; the optical flow needs so many
# Grey levels by which a pixel may differ from the usual difference and still count in the light.
_LIGHT_TOLERANCE = 14.0
# The most by which a piece is made brighter or darker, and the least level that it is measured at.
_MOST_GAIN, _DARKEST = 6.0, 4.0
# Eye-corner distances in pixels at which light and flow are computed.
_LIGHT_UNIT, _FLOW_UNIT = 40.0, 80.0
# Paper of a drawing: from these grey levels on; seen on this share of the border it is all there is.
_PAPER, _PAPER_SHARE = (235.0, 250.0), 0.05
_FLOW_EDGE = 20.0  # a gradient of so many levels counts in full


def lit(base: Picture, piece: Picture, alpha: Map, unit: float) -> Picture:
    """``piece`` in the light of ``base``, by what they show on the soft border.

    First a gain, the ratio of both medians there: what is dark stays dark in another exposure, and colours
    stay as full. Then the smooth difference that is left,
    L = G * (k (base - piece)) / G * k with G a Gaussian of 0.22 eye-corner distances and k the border's
    pixels, those that differ otherwise than most weighing less (a hair, an edge that does not fit).
    White that both show stays white: where strokes differ paper has no other light.

    Args:
        base, piece: (h, w, 3) or (h, w) float32.
        alpha: (h, w) opacity; the border is where it is neither 0 nor nearly 1.
        unit: pixels of one eye-corner distance.
    """
    shrink = max(1, int(unit / _LIGHT_UNIT))
    height, width = alpha.shape
    size = (max(1, width // shrink), max(1, height // shrink))
    below, above, soft = (cv2.resize(x, size, interpolation=cv2.INTER_AREA) for x in (base, piece, alpha))
    border = (soft > 0.02) & (soft < 0.6)
    if not border.any():
        return piece
    gain = _gain(below[border], above[border])
    difference = below - above * gain
    planes = difference.reshape(*soft.shape, -1)
    usual = np.median(planes[border], axis=0)
    odd = np.square((planes - usual) / _LIGHT_TOLERANCE).max(axis=-1)
    weight = (border / (1 + odd)).astype(np.float32)
    sigma = _LIGHT_SPREAD * unit / shrink
    spread = np.maximum(cv2.GaussianBlur(weight, (0, 0), sigma), 1e-5)
    # One channel needs no axis of its own.
    weight, spread = (x.reshape(*x.shape, *[1] * (difference.ndim - 2)) for x in (weight, spread))
    light = cv2.GaussianBlur(difference * weight, (0, 0), sigma) / spread
    light = cv2.resize(light, (width, height), interpolation=cv2.INTER_LINEAR)
    relit, coloured = piece * gain + light, piece.ndim == 3
    paper = float(_paper(below[border], coloured).mean()) / _PAPER_SHARE
    if paper > 0:
        relit += min(1.0, paper) * _paper(piece, coloured) * (piece - relit)
    return relit


def _gain(below: NDArray, above: NDArray) -> Picture:
    """Of (n, 3) or (n,) levels, for each channel: 1 where both are as bright."""
    levels = [np.maximum(np.median(one, axis=0), _DARKEST) for one in (below, above)]
    return np.clip(levels[0] / levels[1], 1 / _MOST_GAIN, _MOST_GAIN).astype(np.float32)


def _paper(levels: NDArray, coloured: bool) -> Picture:
    """How white pixels are, 0 to 1: (..., 1) of colours (..., 3), (...) of luma (...)."""
    low, high = _PAPER
    darkest = levels.min(axis=-1, keepdims=True) if coloured else levels
    return np.asarray(np.clip((darkest - low) / (high - low), 0, 1), np.float32)


class Aligner:
    """Smooth displacements that lay one piece's skin onto another's, by dense optical flow."""

    def __init__(self) -> None:
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)

    def __call__(self, base: Picture, piece: Picture, weight: Map, unit: float) -> NDArray[np.float32]:
        """(2, h, w) pixels, x and y: seen through them ``piece`` lies on ``base`` where ``weight`` is.

        The flow is averaged with a Gaussian of 0.14 eye-corner distances, pixels with an edge counting most
        and outliers little, and held to 0.03: the mouth follows the skin around it.

        Args:
            base, piece: (h, w) float32 luma in grey levels.
            weight: (h, w), where the flow counts.
            unit: pixels of one eye-corner distance.
        """
        shrink = max(1.0, unit / _FLOW_UNIT)
        height, width = weight.shape
        size = (max(_LEAST_SIDE, int(width / shrink)), max(_LEAST_SIDE, int(height / shrink)))
        here, there = (_small(x, size) for x in (base, piece))
        flow = self._dense(here, there)
        small = unit / shrink
        slope = np.abs(cv2.Sobel(here, cv2.CV_32F, 1, 0)) + np.abs(cv2.Sobel(here, cv2.CV_32F, 0, 1))
        edges = np.clip(cv2.GaussianBlur(slope, (0, 0), 2) / _FLOW_EDGE, 0.02, 1)
        size_of = np.abs(flow).max(axis=0)
        trust = (cv2.resize(weight, size) * edges / (1 + (size_of / (0.04 * small)) ** 4)).astype(np.float32)
        sigma, reach = _FLOW_SPREAD * small, _FLOW_REACH * small
        spread = cv2.GaussianBlur(trust, (0, 0), sigma) + 0.01
        field = np.empty((2, height, width), np.float32)
        for plane, moves in zip(field, flow, strict=True):
            mean = np.clip(cv2.GaussianBlur(moves * trust, (0, 0), sigma) / spread, -reach, reach)
            plane[:] = cv2.resize(mean, (width, height), interpolation=cv2.INTER_CUBIC)
        field *= np.float32(shrink)
        return field

    def _dense(self, here: NDArray[np.uint8], there: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(2, h, w) flow. OpenCV's crashes on wide, low pictures: they are made half as high as wide."""
        height, width = here.shape
        more = max(0, -(-width // 2) - height)
        grown = [cv2.copyMakeBorder(x, 0, more, 0, 0, cv2.BORDER_REPLICATE) for x in (here, there)]
        flow = self._flow.calc(grown[0], grown[1], np.zeros((height + more, width, 2), np.float32))
        return np.ascontiguousarray(flow[:height].transpose(2, 0, 1))


def _small(luma: Map, size: tuple[int, int]) -> NDArray[np.uint8]:
    small = cv2.resize(np.clip(luma, 0, 255).astype(np.uint8), size, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def motion_blurred(picture: Picture, shift: NDArray[np.float64]) -> Picture:
    """A picture blurred along a movement of ``shift`` (x, y) pixels while the shutter was open."""
    length = float(np.hypot(*shift))
    if length < 1.0:
        return picture
    side = 2 * int(np.ceil(length / 2)) + 1
    # cv2 draws with sub-pixel ends given in 1/16 px.
    kernel = np.zeros((side, side), np.float32)
    middle = np.array([side // 2, side // 2], np.float64)
    start, end = (np.rint(16 * (middle + sign * shift / 2)).astype(int).tolist() for sign in (-1, 1))
    cv2.line(kernel, start, end, (1.0,), 1, cv2.LINE_AA, 4)
    return np.asarray(
        cv2.filter2D(picture, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE), np.float32
    )
