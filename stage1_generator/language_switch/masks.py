"""Which latents of a clip a part of its picture decides: measured on the autoencoder at hand.

An autoencoder's latent sees more than its own block: painting over the lower face changes latents around it
and in neighbouring frames, too. A model that is given those would be told the lips that it is to make anew.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.face.masks import face_mask
from common.models.ltx2.codecs import JointVideoCodec

_FILLS = (0, 255)


def touched_cells(mask: NDArray[np.bool_], stride: tuple[int, int, int]) -> Tensor:
    """(F, h, w) bool: the latents of whose own block (N, S, S) pixels of ``mask`` are a part."""
    frames, rows, columns = stride
    pixels = torch.from_numpy(mask).unflatten(2, (-1, columns)).unflatten(1, (-1, rows)).any(dim=(2, 4))
    groups = [pixels[:1], *pixels[1:].split(frames)]
    return torch.stack([group.any(dim=0) for group in groups])


def changed_cells(
    codec: JointVideoCodec, frames: NDArray[np.uint8], mask: NDArray[np.bool_], threshold: float
) -> Tensor:
    """(F, h, w) bool: the latents that differ when the pixels of a mask are painted over.

    Args:
        codec: normalises latents, so that a channel's standard deviation is about 1.
        frames: (N, S, S, 3) uint8.
        mask: (N, S, S) bool.
        threshold: root of the mean square of a latent's channels above which it counts as changed, when the
            mask is painted black, or white.
    """
    before = codec.encode_frames(frames[None])
    changed = torch.zeros(before.shape[2:], dtype=torch.bool)
    for fill in _FILLS:
        painted = frames.copy()
        painted[mask] = fill
        difference = (codec.encode_frames(painted[None]) - before)[0].square().mean(dim=0).sqrt()
        changed |= difference.cpu() > threshold
    return changed


def fine_cells(
    codec: JointVideoCodec, frames: NDArray[np.uint8], mask: NDArray[np.bool_], threshold: float
) -> Tensor:
    """(F, h, w) bool: what covers the mask, and what it leaks into; arguments as above."""
    return touched_cells(mask, codec.stride) | changed_cells(codec, frames, mask, threshold)


def face_rectangle(landmarks: NDArray[np.float32], size: int, span: slice) -> NDArray[np.bool_]:
    """(N, S, S): in the frames ``span`` one rectangle around the face of all of them; nothing elsewhere.

    Args:
        landmarks: (N, 68, 3) of the clip, crop pixels.
        size: side of the crop.
        span: frames.
    """
    shown = np.asarray(face_mask(landmarks[span], size)).any(axis=0)
    rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
    box = np.zeros((len(landmarks), size, size), bool)
    if len(rows):
        box[span, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    return box


@dataclass(frozen=True)
class LeakReach:
    """How far a change of one block's pixels reaches, in latents beyond its own: before and after it in time,
    and to the sides.
    """

    before: int
    after: int
    sides: int


def leak_reach(codec: JointVideoCodec, size: int, frames: int, threshold: float, seed: int = 0) -> LeakReach:
    """Measure it in the middle of a clip of noise.

    Args:
        codec, threshold: as of :func:`changed_cells`.
        size, frames: of the clip.
        seed: of the noise.
    """
    clip = np.random.default_rng(seed).integers(0, 256, (frames, size, size, 3), dtype=np.uint8)
    stride = codec.stride
    latents, cells = (frames - 1) // stride[0] + 1, size // stride[1]
    place = (latents // 2, cells // 2, cells // 2)
    mask = np.zeros((frames, size, size), bool)
    first = max(0, (place[0] - 1) * stride[0] + 1) if place[0] else 0
    rows, columns = (
        slice(at * step, (at + 1) * step) for at, step in zip(place[1:], stride[1:], strict=True)
    )
    mask[first : place[0] * stride[0] + 1, rows, columns] = True
    where = torch.nonzero(changed_cells(codec, clip, mask, threshold)) - torch.tensor(place)
    if not len(where):
        return LeakReach(0, 0, 0)
    return LeakReach(
        before=max(0, -int(where[:, 0].min())),
        after=max(0, int(where[:, 0].max())),
        sides=int(where[:, 1:].abs().max()),
    )
