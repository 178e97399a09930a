"""How long and how large a sample is, found from a few bytes of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection

from common.data.schema import ARRAYS, CACHE, LATENTS, META, POOLED

Shape = tuple[int, int, int]
"""Frames of the clip, height and width of its latents."""

ReadSpan = Callable[[str, int, int], bytes]
"""(member, offset, size) -> at most ``size`` bytes of the member from ``offset`` on."""

_WHOLE = 1 << 30


def sample_shape(members: Collection[str], read: ReadSpan) -> Shape | None:
    """Shape of a sample with these members; None where nothing tells its latent grid.

    Only ``meta.json`` and headers are read: caches of long clips are megabytes each.
    """
    for member, names in ((CACHE, LATENTS), (ARRAYS, POOLED)):
        if member not in members:
            continue
        length = int.from_bytes(read(member, 0, 8), "little")
        header = json.loads(read(member, 8, length))
        for name in names:
            if name in header:
                height, width = header[name]["shape"][-2:]
                return int(json.loads(read(META, 0, _WHOLE))["frames"]), int(height), int(width)
    return None
