"""Shot changes: a crop that runs across a cut would teach jumps that no face makes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

_WIDTH, _HEIGHT = 32, 18
# A cut changes the picture by more than this share of full scale, and by far more than the changes around it.
_LEAST_CHANGE = 0.08
_OUTLIER = 4.0
_NEIGHBOURHOOD = 8


class Thumbnails:
    """Watches images go by and keeps a gray thumbnail of each."""

    def __init__(self) -> None:
        self._seen: list[NDArray[np.uint8]] = []

    def watch(self, images: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
        for image in images:
            small = cv2.resize(image, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_AREA)
            self._seen.append(np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.uint8))
            yield image

    def cuts(self) -> list[int]:
        """Indices of the first frames after a cut."""
        if len(self._seen) < 2:
            return []
        stack = np.stack(self._seen).astype(np.float32) / 255.0
        change = np.abs(np.diff(stack, axis=0)).mean(axis=(1, 2))
        found = []
        for index in np.flatnonzero(change > _LEAST_CHANGE):
            around = change[max(index - _NEIGHBOURHOOD, 0) : index + _NEIGHBOURHOOD + 1]
            if change[index] > _OUTLIER * np.median(around):
                found.append(int(index) + 1)
        return found


def split_at(pieces: Iterable[slice], cuts: Iterable[int], longest: int) -> list[slice]:
    """Cut slices at `cuts`, then into parts of nearly equal length, none longer than `longest`."""
    result = []
    for piece in pieces:
        edges = [piece.start, *sorted(cut for cut in cuts if piece.start < cut < piece.stop), piece.stop]
        for start, stop in pairwise(edges):
            parts = max(-(-(stop - start) // longest), 1)
            bounds = np.linspace(start, stop, parts + 1).round().astype(int)
            result += [slice(int(a), int(b)) for a, b in pairwise(bounds)]
    return result
