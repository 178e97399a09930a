"""Straight edges along rows and columns that the dub adds to the face: blocks, borders of boxes."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from common.face import lip_mask
from common.face.crops import CROP_SCALE
from common.face.layout import CHIN, OUTER_EYE_CORNERS
from evaluation.dubbed_clip import DubbedClip, Mask
from evaluation.metrics.base import Better, Metric, Values
from evaluation.metrics.quality import visible_regions
from evaluation.similarity import Gray, luma

FACE_SIZE = 256
"""Pixels that the face (common.face.crops: the crop is CROP_SCALE times as large) is scaled to."""

RUN = 12
"""Pixels along an edge over which its step is averaged: texture changes its sign over so many, a border of a
block of 8 or 16 pixels does not."""

MOVED = 5
"""Pixels that an edge of the source may have moved in the dub."""

UNSEEN = 2.0
"""Grey levels of a step that is not visible on skin."""

# The run around a pixel reaches 6 pixels to one side, and its derivative one pixel more.
_LIP_REACH = RUN // 2 + 1
_EYES = tuple(range(36, 48))
# Of a face that is nearly covered or cut off, too little is left for a mean: a hundredth of its square.
_LEAST_PIXELS = FACE_SIZE**2 // 100


def straight_edges(gray: Gray) -> NDArray[np.float32]:
    """C of every pixel: (2, H, W) grey levels, for edges along rows (0) and along columns (1).

    C = abs(mean over the 12 pixels along the edge of Y(p) - Y(p - 1)), p - 1 the pixel above (to the left).
    The sign is kept until the mean is taken, so that texture cancels: of independent grain of a standard
    deviation s, 0.4 s is left. A step of h between two rows gives h in the lower of them, wherever the whole
    run lies on it; one at 45 degrees gives h / 12, on 12 times as many pixels.

    Args:
        gray: (H, W) luma Y, 0..255.
    """
    found = np.zeros((2, *gray.shape), np.float32)
    np.subtract(gray[1:], gray[:-1], out=found[0, 1:])
    np.subtract(gray[:, 1:], gray[:, :-1], out=found[1, :, 1:])
    for edges, run in zip(found, ((RUN, 1), (1, RUN)), strict=True):
        cv2.blur(edges, run, dst=edges, borderType=cv2.BORDER_REPLICATE)
    return np.abs(found, out=found)


def added_edges(made: Gray, *known: Gray) -> NDArray[np.float32]:
    """(H, W) grey levels: max(0, C(made) - largest C(known) up to 5 px away - 2), summed over both axes.

    Largest over a square of 11 x 11 pixels, the same axis, and all known pictures: a chin that moves a little
    is no seam.

    Args:
        made: (H, W) luma of the dub.
        known: (H, W) luma of the source, and of the truth where there is one.
    """
    around = np.ones((2 * MOVED + 1, 2 * MOVED + 1), np.uint8)
    strongest = np.maximum.reduce([straight_edges(gray) for gray in known])
    total = np.zeros(made.shape, np.float32)
    for new, old in zip(straight_edges(made), strongest, strict=True):
        total += np.maximum(new - cv2.dilate(old, around) - UNSEEN, 0)
    return total


def below_the_eyes(points: NDArray[np.floating], size: int) -> Mask:
    """(size, size) what lies below the lowest eye point, square to the line through the outer eye corners.

    Args:
        points: (68, 2 or 3) landmarks in pixels of that square.
    """
    right, left = (np.asarray(points[i, :2], np.float64) for i in OUTER_EYE_CORNERS)
    down = np.array([right[1] - left[1], left[0] - right[0]])
    # In a mirrored or upside-down picture the chin still says where below is.
    if (points[CHIN, :2] - right) @ down < 0:
        down = -down
    rows, columns = np.ogrid[:size, :size]
    lowest = (np.asarray(points[list(_EYES), :2], np.float64) @ down).max()
    return np.asarray(columns * down[0] + rows * down[1] > lowest)


class StraightSeams:
    """``straight_seams``: mean over frames of 1,000 times the mean of :func:`added_edges` below the eyes.

    In the face below the eyes with chin and jaw, without the lips of source, truth and dub, which may have
    straight edges of their own; the lips are grown by 7 pixels, so that no run touches them. Crops are scaled
    so that the face is 256 pixels large. A dub that is its source gives exactly 0; under 1 is clean, above 3
    anybody sees it. On four filmed clips: coded again by H.264 at crf 28, 0 to 0.3, at crf 38, 0.2 to 3; JPEG
    of quality 50, 0.6 to 1.4, of quality 20, 21 to 24; a box around the mouth 3 grey levels brighter 0 to 4,
    6 levels 3 to 17, 12 levels 38 to 102.

    Three things count that are no seams: the sharp outline of a chin that moves by more than 5 pixels (not
    where the truth is known: edges that it has are no seams), slanting edges of more than 24 grey levels, and
    grain of more than 2 grey levels that the source does not have.
    """

    metrics = (
        Metric(
            key="straight_seams",
            title="Straight seams",
            unit="",
            better=Better.lower,
            formula="mean over frames of 1000 mean max(0, C(made) - max C(source, truth) within 5 px - 2), "
            "both axes added; C: |mean along 12 px of the luma step across|; face of 256 px, below the eyes, "
            "off lips",
            source="ours: blocks and boxes have edges along rows and columns that no face has",
            group="looks",
        ),
    )
    fingerprint = "straight_seams-1"

    def __call__(self, clip: DubbedClip) -> Values:
        crop, side = clip.made.crops.shape[1], round(FACE_SIZE * CROP_SCALE)
        face = visible_regions(clip)["face"]
        lips = clip.regions.mouth | lip_mask(clip.made.landmarks, crop)
        grown = np.ones((2 * _LIP_REACH + 1, 2 * _LIP_REACH + 1), np.uint8)
        versions = [clip.made, clip.source, *([clip.truth] if clip.truth is not None else [])]
        found = []
        for index in np.flatnonzero(clip.source.present):
            mouth = cv2.dilate(_mask(lips[index], side).astype(np.uint8), grown).astype(bool)
            # Landmarks count from the middle of a pixel.
            points = (clip.source.landmarks[index, :, :2] + 0.5) * (side / crop) - 0.5
            region = _mask(face[index], side) & ~mouth & below_the_eyes(points, side)
            if (pixels := int(region.sum())) < _LEAST_PIXELS:
                continue
            pictures = [_scaled(luma(version.crops[index]), side) for version in versions]
            found.append(1000 * float(added_edges(*pictures)[region].sum(dtype=np.float64)) / pixels)
        return {"straight_seams": float(np.mean(found))} if found else {}


def _scaled(gray: Gray, side: int) -> Gray:
    if gray.shape[0] == side:
        return gray
    how = cv2.INTER_AREA if gray.shape[0] > side else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(gray, (side, side), interpolation=how), np.float32)


def _mask(region: Mask, side: int) -> Mask:
    nearest = cv2.resize(region.astype(np.uint8), (side, side), interpolation=cv2.INTER_NEAREST)
    return np.asarray(nearest, bool)
