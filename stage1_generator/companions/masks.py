"""The masks of a clip: what is inpainted, what weighs more in the loss, and the masked video."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.face.masks import face_mask, lip_mask, lower_face_mask, pool_mask_to_latents, widen

# The middle of the pixel range is 0 for the autoencoder: the masked region carries no signal.
GRAY = 128


@dataclass(frozen=True)
class ClipMasks:
    """Masks of one clip, each (N, S, S) bool, in crop pixels.

    Attributes:
        inpaint: what the generator fills: the lower face less the occluders.
        lower_face: the same with the occluders.
        lips, face: regions of the loss weights.
        occluder: grown occluders; all False where none are known.
    """

    inpaint: NDArray[np.bool_]
    lower_face: NDArray[np.bool_]
    lips: NDArray[np.bool_]
    face: NDArray[np.bool_]
    occluder: NDArray[np.bool_]

    def pooled(self, stride: int) -> dict[str, NDArray[np.uint8]]:
        """Max-pooled to the latent grid, (F, S / stride, S / stride) uint8, named as in the sample schema."""
        named = {"lip_mask": self.lips, "face_mask": self.face, "lower_face_mask": self.lower_face}
        return {
            name: np.asarray(pool_mask_to_latents(mask, stride), np.uint8) for name, mask in named.items()
        }


def clip_masks(
    landmarks: NDArray[np.float32], size: int, occluder: NDArray[np.bool_] | None = None, grow: float = 0.02
) -> ClipMasks:
    """Masks of a clip; the lower face keeps one scale for the whole clip (P section 3).

    Args:
        landmarks: (N, 68, 3) crop pixels.
        size: side of the crop, S.
        occluder: (N, S, S) bool or None.
        grow: occluders are dilated by this share of S, so that their soft edges are not painted over.
    """
    lower = np.asarray(lower_face_mask(landmarks, size))
    covered = np.zeros_like(lower) if occluder is None else grow_mask(occluder, round(grow * size))
    return ClipMasks(
        inpaint=lower & ~covered,
        lower_face=lower,
        lips=np.asarray(lip_mask(landmarks, size)),
        face=np.asarray(face_mask(landmarks, size)),
        occluder=covered,
    )


def grow_mask(mask: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """Dilate every frame of (N, S, S) by a disc of `radius` pixels."""
    if radius < 1:
        return mask
    grown = [widen(frame.astype(np.uint8), radius) if frame.any() else frame for frame in mask]
    return np.stack(grown).astype(bool)


def hide(frames: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Frames (N, S, S, 3) with the masked pixels gray."""
    hidden = frames.copy()
    hidden[mask] = GRAY
    return hidden
