"""Parts of a video that are not too long to train on."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np


def split_longer(pieces: Iterable[slice], longest: int) -> list[slice]:
    """Cut slices into parts of nearly equal length, none longer than `longest`."""
    result = []
    for piece in pieces:
        parts = max(-(-(piece.stop - piece.start) // longest), 1)
        bounds = np.linspace(piece.start, piece.stop, parts + 1).round().astype(int)
        result += [slice(int(a), int(b)) for a, b in pairwise(bounds)]
    return result
