"""A visible patch or box: a straight step in what was done to the picture that the picture itself lacks."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
from numpy.typing import NDArray

from common.face import lip_mask
from evaluation.dubbed_clip import DubbedClip, Frames, Mask
from evaluation.metrics.base import Better, Metric, Values

Array = NDArray[np.float32]

# Frames whose mean is one picture: moving lips and noise average out, a head hardly turns. Pictures of a
# group are taken together: what a patch does lasts, what a mistimed movement does goes away.
_CHUNK = 10
_GROUP = 2
# In crop sides: the strips on both sides of a line, and the length of line that makes an edge of a patch.
# Short enough that the arc of an ellipse counts as straight.
_STRIP = 1 / 43
_LENGTH = 1 / 6
_LEAST_LENGTH = 0.7
_ANGLES = tuple(range(0, 180, 15))
# Delta E of a step in the source beyond which a patch's edge cannot be told from it.
_OWN_EDGE = 4.0


def step_across(picture: Array) -> Array:
    """Step downwards at each pixel of (H, W, C), after a ramp of any slope is taken away.

    The difference of the strips just below and above, less what the slope inside the two strips and the two
    next to them explains: h for a step of h, 0 for any ramp.
    """
    strip = _strip(picture.shape[0])
    # Strips of b pixels, centres b + 1 apart across the line, b apart on each side of it.
    share = (strip + 1) / (2 * strip)
    weights = np.repeat([-share, 1 + share, 0, -1 - share, share], [strip, strip, 1, strip, strip]) / strip
    return np.asarray(cv2.filter2D(picture, -1, -weights[:, None], borderType=cv2.BORDER_REPLICATE))


def strongest_edge(difference: Array, source: Array, valid: Mask) -> float:
    """The strongest straight edge of a patch, delta E: height of its step, less where the step is uneven.

    Along every line of a sixth of the side, at 12 angles: |mean step|^2 / root mean squared step, over time
    and over the pixels of the line that are valid and where the source has no edge along the line. What comes
    and goes, or lies along a part of the line only, is small in the mean and large in the square.

    Args:
        difference: (T, S, S, 3) CIELAB, made minus source.
        source: (T, S, S, 3) CIELAB.
        valid: (T, S, S) bool.
    """
    size = difference.shape[1]
    strip = _strip(size)
    length = round(_LENGTH * size)
    best = 0.0
    for angle in _ANGLES:
        turn = cv2.getRotationMatrix2D(((size - 1) / 2, (size - 1) / 2), angle, 1.0)
        total, square = np.zeros((size, size, 3), np.float32), np.zeros((size, size), np.float32)
        known = np.zeros((size, size), np.float32)
        for new, old, where in zip(difference, source, valid, strict=True):
            # All strips of a step must be inside.
            inside = cv2.erode(
                _turned(where.astype(np.uint8), turn), _column(4 * strip + 1), borderValue=(0,)
            )
            own = np.linalg.norm(step_across(_turned(old, turn)), axis=2)
            # Another version's edge may lie a few pixels beside the source's.
            own = cv2.dilate(own, _column(2 * strip + 1))
            counts = (inside.astype(bool) & (own < _OWN_EDGE)).astype(np.float32)
            step = step_across(_turned(new, turn)) * counts[..., None]
            total += step
            square += (step * step).sum(axis=2)
            known += counts
        number = np.maximum(_along(known, length), 1)
        mean = np.linalg.norm(_along(total, length), axis=2) / number
        edge = mean**2 / np.sqrt(np.maximum(_along(square, length) / number, 1e-6))
        edge[number < _LEAST_LENGTH * length * len(difference)] = 0
        best = max(best, float(edge.max()))
    return best


def _strip(size: int) -> int:
    return max(2, round(_STRIP * size))


def _column(height: int) -> NDArray[np.uint8]:
    return np.ones((height, 1), np.uint8)


def _turned(picture: NDArray, turn: NDArray) -> NDArray:
    how = cv2.INTER_NEAREST if picture.dtype == np.uint8 else cv2.INTER_LINEAR
    return np.asarray(cv2.warpAffine(picture, turn, picture.shape[1::-1], flags=how))


def _along(picture: Array, length: int) -> Array:
    line = (length, 1)
    return np.asarray(cv2.boxFilter(picture, -1, line, normalize=False, borderType=cv2.BORDER_CONSTANT))


def patch_edges(made: Frames, source: Frames, valid: Mask) -> NDArray[np.float64]:
    """The strongest edge of each group of about 20 frames, delta E: (groups,), at least one.

    Args:
        made, source: (N, S, S, 3) uint8, N >= 1.
        valid: (N, S, S) bool, where an edge would be a patch's: not where another mouth has edges of its own.
    """
    count = max(1, len(made) // _CHUNK)
    bounds = np.linspace(0, len(made), count + 1).round().astype(int)
    pictures, originals, masks = [], [], []
    for part in itertools.starmap(slice, itertools.pairwise(bounds)):
        new, old = (_lab(x[part].mean(axis=0, dtype=np.float32)) for x in (made, source))
        pictures.append(new - old)
        originals.append(old)
        masks.append(valid[part].all(axis=0))
    groups = np.array_split(np.arange(count), max(1, count // _GROUP))
    return np.array(
        [
            strongest_edge(*(np.stack([x[i] for i in group]) for x in (pictures, originals, masks)))
            for group in groups
        ]
    )


def _lab(image: Array) -> Array:
    return np.asarray(cv2.cvtColor(image / 255, cv2.COLOR_RGB2LAB), np.float32)


class PatchEdge:
    """``patch_edge``: the edge of a pasted patch, of any straight or gently round outline.

    Seen on five filmed and drawn clips, crops of 256 pixels: another mouth, blended in or drawn with its
    chin, 0 to 0.9; the whole video three frames late 0.4 to 1.0; coded again by H.264 up to 1.3; all 10 grey
    levels brighter, where skin is cut off at white, up to 1.4; a box 8 levels brighter 1.2 to 3.0, one of 15
    levels 2.2 to 5.5, with a border blurred by 6 % of the crop 0.1 to 1.1; blocks of JPEG 1.7 to 3.8.
    """

    metrics = (
        Metric(
            key="patch_edge",
            title="Patch edge",
            unit="delta E",
            better=Better.zero,
            formula="median over groups of 20 frames of the largest |mean s|^2 / rms s along 1/6 of crop; "
            "s: step across of Lab(made) - Lab(source), less ramps, off lips and own edges",
            source="ours: a patch is a lasting straight step in made - source, without one in the source",
            group="looks",
        ),
    )
    fingerprint = "patch-1"

    def __call__(self, clip: DubbedClip) -> Values:
        seen = clip.source.present
        if not seen.any():
            return {}
        size = clip.made.crops.shape[1]
        mouths = (
            clip.regions.mouth | lip_mask(clip.source.landmarks, size) | lip_mask(clip.made.landmarks, size)
        )
        edges = patch_edges(clip.made.crops[seen], clip.source.crops[seen], ~mouths[seen])
        return {"patch_edge": float(np.median(edges))}
