"""How far the pixels of a frame that own mouths have drawn can be relied on: from 1, film, to 0, made up.

    r = 1 - a (1 - (1 - p) q),    q = sum_m w_m exp(-|f - f_m|^2 / 4)

a is the opacity of the mouth that is laid in, less what lies before the face and stays; p the share of a
pixel that no film shows: painted or drawn, or drawn out between rows of teeth. f and f_m are what the planner
compares (:func:`common.own_mouths.bank.features`): of the frame, with the lip shape that is wanted of it, and
of each moment that it shows with weight w_m, before it is bent. So r is 1 where the picture is the frame's
own, or of a moment that needed no bending. A jaw that is moved is the frame's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.face.masks import pool_mask_to_latents
from common.own_mouths.bank import features
from common.own_mouths.plates import Roi

Array = NDArray[np.float64]
Map = NDArray[np.float32]
Levels = NDArray[np.uint8]
"""Reliability in 255ths."""

SURE = 255
"""The level of film as it is."""
# Squared distances at which a moment counts for 1 / e: two units of lip shape apart, or as far in pose.
_APART = 4.0


@dataclass(frozen=True)
class Reliability:
    """Of one frame.

    Attributes:
        spot: the pixels of the frame where a mouth is laid in; elsewhere it is 1.
        levels: (h, w) over the spot.
    """

    spot: Roi
    levels: Levels

    def over(self, shape: tuple[int, ...]) -> Levels:
        """(H, W) over a picture of this shape, whose further axes count nothing."""
        whole = np.full(shape[:2], SURE, np.uint8)
        x0, y0, x1, y1 = self.spot
        whole[y0:y1, x0:x1] = self.levels
        return whole


def film_share(wanted: Array, angles: Array, shapes: Array, moments: Array, weights: Array) -> float:
    """q: how near what a frame shows is to what is wanted of it, 0 to 1.

    Args:
        wanted: (7,) lip shape. angles: (4,) of :attr:`common.own_mouths.heads.Heads.angles`.
        shapes: (m, 7) of the moments that it shows, as filmed. moments: (m, 4) their angles.
        weights: (m,) with which it shows them, 1 together.
    """
    apart = features(shapes, moments) - features(wanted[None], angles[None])
    return float(weights @ np.exp(-np.square(apart).sum(axis=1) / _APART))


def reliability_of(spot: Roi, opacity: Map, unfilmed: Sequence[Map], film: float) -> Reliability:
    """r over a spot.

    Args:
        spot: where the mouth is laid in.
        opacity: (h, w) a.
        unfilmed: maps (h, w) whose largest is p.
        film: q.
    """
    shown = 1 - np.maximum.reduce([np.zeros_like(opacity), *unfilmed]).clip(0, 1)
    levels = np.rint(SURE * (1 - opacity * (1 - film * shown)))
    return Reliability(spot, levels.clip(0, SURE).astype(np.uint8))


def pooled_levels(levels: Levels, stride: int | tuple[int, int, int]) -> Levels:
    """The least level of every latent cell, (F, h, w) of (N, H, W); arguments and errors as of
    :func:`common.face.masks.pool_mask_to_latents`."""
    return np.asarray(SURE - pool_mask_to_latents(SURE - levels, stride), np.uint8)
