"""Opacities of edited crops in their frames, and the passage from one window's edits to the next one's."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

BORDER_SHARE = 1 / 16
"""Width of the blurred border as a share of the crop: two latent cells of the public geometry."""

CHANGE_RANGE = (0.02, 0.06)
"""Change of the local mean colour (black 0 .. white 1) below which the source stays and above which the edit
is taken: above what a video autoencoder does to colours, and well below what lips that moved do."""

NEW_RANGE = (0.03, 0.08)
"""The same where the source's fine detail gives way to the edit's: lips, teeth, not a cheek that moved."""

CHANGE_MEMORY = 0.75
"""Share of the opacity that stays from one model frame to the next where nothing changes any more."""

_CELLS = 128
"""Side of the grid on which opacities are found, where crops are larger: they are far smoother than that."""


@lru_cache(maxsize=8)
def border_alpha(size: int, share: float = BORDER_SHARE) -> np.ndarray:
    """Opacity of an edited crop: 1 inside, a blurred fall to exactly 0 at the outermost pixels.

    The blur's kernel is no wider than the border it softens, so nothing of it is cut off at the crop's
    edge: a cut would show as a faint square.

    Args:
        size: side of the crop in pixels.
        share: width of the border as a share of ``size``, in (0, 0.25].

    Returns:
        (size, size) float32 in 0..1, read-only (it is cached).
    """
    if not 0 < share <= 0.25:
        raise ValueError(f"the border must be a share in (0, 0.25] of the crop, not {share}")
    border = max(2, round(size * share))
    if size < 4 * border:
        raise ValueError(f"a crop of {size} px is too small for a border of {border} px")
    half = border // 2
    box = np.zeros((size, size), np.float32)
    box[border - half : size - border + half, border - half : size - border + half] = 1.0
    kernel = 2 * half + 1
    alpha = cv2.GaussianBlur(box, (kernel, kernel), kernel / 4, borderType=cv2.BORDER_CONSTANT)
    alpha[[0, -1], :] = 0.0
    alpha[:, [0, -1]] = 0.0
    alpha = np.clip(alpha, 0.0, 1.0)
    alpha.setflags(write=False)
    return alpha


class ChangeAlpha:
    """Opacity by what the edit changed, for one run of crops in order (gap G: the release pastes all).

    A crop has passed through the video autoencoder and often through a smaller size than the face has in the
    frame, so pasting all of it blurs what the edit left alone. Here only pixels near a real change are taken;
    everywhere else the source's own bytes stay, at its own resolution and its own frame rate. The opacity
    rises at once and falls slowly, so that the edge of the region does not flicker.

    Args:
        size: side of the crops in pixels.
        limits: change of the local mean colour at which the opacity begins to rise, and at which it is 1.
        reach: by how much the region is widened, as a share of the side.
    """

    def __init__(self, size: int, limits: tuple[float, float] = CHANGE_RANGE, reach: float = 1 / 16) -> None:
        cells = min(size, _CELLS)
        self._size = size
        self._limits = limits
        self._sigma = cells / 48
        self._reach = 2 * max(1, round(cells * reach)) + 1
        self._last = np.zeros((cells, cells), np.float32)

    def __call__(self, change: np.ndarray) -> np.ndarray:
        """What the next frame's edit adds, (S, S, 3) in 8-bit steps -> (S, S) float32 in 0..1.

        Where the edit changes nothing, and has not done so for a while, the opacity is exactly 0.
        """
        change = cv2.resize(change.astype(np.float32), self._last.shape, interpolation=cv2.INTER_AREA)
        # Blurred with its sign: lost sharpness and noise cancel out, a mouth that opened does not.
        mean = cv2.transform(np.abs(self._blur(change)), np.full((1, 3), 1 / 3, np.float32))
        low, high = self._limits
        ramp = np.clip((mean / 255.0 - low) / (high - low), 0.0, 1.0)
        wide = cv2.dilate(ramp, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (self._reach, self._reach)))
        faded = self._last * CHANGE_MEMORY
        faded[faded < 1 / 255] = 0.0
        self._last = np.maximum(self._blur(wide), faded)
        return np.asarray(cv2.resize(self._last, (self._size, self._size)), np.float32)

    def _blur(self, values: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(values, (0, 0), self._sigma, borderType=cv2.BORDER_REPLICATE)


def blend_seam(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Average the frames that two windows share, moving from the earlier window to the later one.

    The release averages the one latent in which two windows overlap; with each window decoded once the
    average is taken in pixels, and the weights run across the overlap so that neither end jumps (gap G).

    Args:
        before: (K, H, W, 3) uint8 or float32, the last frames of the earlier window.
        after: (K, H, W, 3) of the same kind, the same moments in the later window.

    Returns:
        (K, H, W, 3) of that kind.
    """
    count = len(before)
    weight = (np.arange(1, count + 1, dtype=np.float32) / (count + 1)).reshape(-1, 1, 1, 1)
    mixed = before.astype(np.float32) * (1 - weight) + after.astype(np.float32) * weight
    return np.rint(mixed).astype(np.uint8) if before.dtype == np.uint8 else mixed
