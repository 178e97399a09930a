"""Moments over whose mouths subtitles or logos lie."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from common.face.layout import OUTER_LIP
from common.face.overlays import Overlays
from common.own_mouths.bank import Bank

# Lips, this much larger, are not covered at all; where too few moments show that, by no more than this share.
# What is filled in beside lips has their colour, and what is filled in over them is no mouth.
_LARGER, _COVERED = 1.2, (0.0, 0.1)
_ENOUGH = 0.25  # share of the moments


def without_overlays(bank: Bank, overlays: Overlays, least: int) -> Bank:
    """A bank whose pictures show what lies below subtitles and logos, as far as it can be filled in.

    Moments whose lips are covered are left out where others are enough: at least ``least``, and a quarter of
    all. Lips that are always covered are filled in, too.
    """
    pictures, shares = {}, np.zeros(len(bank))
    for number, (frame, patch) in enumerate(zip(bank.frames.tolist(), bank.patches, strict=True)):
        cover = overlays.cover(frame, patch.picture, patch.origin)
        if cover is not None:
            pictures[number] = cover.filled_in(patch.picture, patch.origin)
            shares[number] = cover.share(_about_lips(bank, number))
    if not pictures:
        return bank
    bank = bank.with_pictures(pictures)
    for most in _COVERED:
        free = shares <= most
        if np.count_nonzero(free) >= max(least, _ENOUGH * len(bank)):
            return bank if free.all() else bank.limited(free)
    return bank


def _about_lips(bank: Bank, number: int) -> NDArray[np.float64]:
    outline = np.asarray(bank.heads.landmarks[number, list(OUTER_LIP), :2], np.float64)
    middle = outline.mean(axis=0)
    return middle + _LARGER * (outline - middle)
