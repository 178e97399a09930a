"""Masks of a face crop: lower face, lips, whole face, and their pooling to the latent grid."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, overload

import cv2
import numpy as np
from numpy.typing import NDArray

from common.face.canonical import cheek_points, face_points, forehead_points, opened_face_points
from common.face.layout import JAW, OUTER_EYE_CORNERS, OUTER_LIP
from common.face.pose import HeadPose, fit_pose, smooth_in_time

if TYPE_CHECKING:
    import torch

Mask = NDArray[np.bool_]
Landmarks = NDArray[np.floating]
Points = NDArray[np.float64]

# Widened by this many outer-eye-corner distances: covers people whose chin is longer than the canonical
# head's.
_LOWER_FACE_MARGIN = 0.06
# Lips seen by landmarks end at the vermilion's edge; the loss should see the edge too.
_LIP_MARGIN = 0.05
# Landmark jitter of single frames must not make the mask flicker; a real nod is slower than this.
_POSE_SMOOTHING_SECONDS = 0.06
# New lips lie where those of the source do, and a little further out.
_MOUTH_MARGIN = 0.1
# Pouted lips reach this far in front of the closed ones.
_POUT = np.array([0.0, 0.0, -0.12])
# cv2 draws with sub-pixel corners given in 1/16 px.
_SUBPIXEL_BITS = 4


@dataclass(frozen=True)
class _Strip:
    """Part of the lower half of the head, as point indices: two points of its upper edge, the jaw below."""

    edge: tuple[int, int]
    jaw: tuple[int, ...]

    def faces_camera(self, points: Points) -> bool:
        """Whether the projected ``points`` (P, 2) show this part from outside.

        A cheek that is turned away would lie over the far eye. When it turns it is seen edge-on and covers
        nothing, so that it comes and goes without a jump.
        """
        start, end = points[list(self.edge)]
        along, down = end - start, points[list(self.jaw)].mean(axis=0) - start
        return bool(along[0] * down[1] - along[1] * down[0] > 0)


@dataclass(frozen=True)
class _LowerHead:
    """Points (P, 3) of the lower half of the canonical head, jaw closed and open, and the parts they form.

    The union of the convex hulls of the parts in sight is the lower face. One hull around all would do for a
    head that looks straight ahead, but would climb over the eyes when it nods.
    """

    points: Points
    strips: tuple[_Strip, ...]
    middle: tuple[int, ...]

    def hulls(self, projected: Points) -> list[Points]:
        seen = [strip for strip in self.strips if strip.faces_camera(projected)]
        return [projected[list(part)] for part in (*((*s.edge, *s.jaw) for s in seen), self.middle)]


@cache
def _mouth_points() -> Points:
    """(24, 3) of the canonical head: the outer lips, closed and half open, as far as speech opens them."""
    closed, opened = (points[list(OUTER_LIP)] for points in (face_points(), opened_face_points()))
    return np.concatenate([closed + _POUT, (closed + opened) / 2])


@cache
def _lower_head() -> _LowerHead:
    face, opened, cheeks = face_points(), opened_face_points(), cheek_points()
    # The jaw line from one jaw angle to the other; higher up it does not move with the mouth, and on a
    # nodding head would reach past the eyes.
    jaw = list(JAW[1:-1])
    # Jaw angle, three cheek points, the nose's middle, and the mirror image.
    edge = np.concatenate([face[jaw[:1]], cheeks[:3], face[29:30], cheeks[3:], face[jaw[-1:]]])
    lips = np.concatenate([face[list(OUTER_LIP)] + _POUT, opened[list(OUTER_LIP)]])
    groups = [edge, face[jaw], opened[jaw], lips, face[29:36]]
    offsets = np.cumsum([0, *(len(group) for group in groups)])
    top, closed, wide, lip, nose = (list(range(a, b)) for a, b in itertools.pairwise(offsets))
    strips = []
    for k, pair in enumerate(itertools.pairwise(top)):
        # The share of the jaw line below this piece of the edge, and one point more on each side.
        first, last = (round(x * (len(closed) - 1) / (len(top) - 1)) for x in (k, k + 1))
        below = slice(max(first - 1, 0), last + 2)
        strips.append(_Strip(pair, (*closed[below], *wide[below])))
    middle = (*lip, *nose, *closed[3:8], *wide[3:8])
    return _LowerHead(np.concatenate(groups), tuple(strips), middle)


def _fill_hulls(canvas: NDArray[np.uint8], hulls: list[Points]) -> None:
    for points in hulls:
        hull = cv2.convexHull(points.astype(np.float32))[:, 0]
        corners = np.round(hull * (1 << _SUBPIXEL_BITS)).astype(np.int32)
        cv2.fillConvexPoly(canvas, corners, (1,), lineType=cv2.LINE_8, shift=_SUBPIXEL_BITS)


def widen(canvas: NDArray[np.uint8], radius: float) -> NDArray[np.uint8]:
    """A mask (h, w) grown by a disc of ``radius`` pixels."""
    pixels = round(radius)
    return canvas if pixels < 1 else np.asarray(cv2.dilate(canvas, disc(pixels)), np.uint8)


def disc(radius: int) -> NDArray[np.uint8]:
    """(2 radius + 1, 2 radius + 1): 1 within a disc, for :func:`cv2.dilate` and its like."""
    size = (2 * radius + 1, 2 * radius + 1)
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, size), np.uint8)


def _present(landmarks: Landmarks) -> NDArray[np.bool_]:
    if landmarks.ndim != 3 or landmarks.shape[1] != 68 or landmarks.shape[2] not in (2, 3):
        raise ValueError(f"landmarks must be (frames, 68, 2 or 3), not {landmarks.shape}")
    # Only rigid points decide: a mouth that some tracker could not see does not take the mask away.
    return np.asarray(np.isfinite(landmarks[:, list(OUTER_EYE_CORNERS), :2]).all(axis=(1, 2)))


def lower_face_mask(landmarks: Landmarks, size: int, fps: float = 25.0) -> Mask:
    """Lower half of the head with the jaw opened to a fixed maximum (P: stage-1 mask; docs/notation.md §3).

    The canonical head is fitted to the rigid upper points (pose per frame, slightly smoothed in time; ONE
    scale for the whole clip, the median) and the outline of its lower half, closed and widest open, is
    filled. No mouth or jaw landmark is read: the mask's shape cannot say what the lips do.

    Args:
        landmarks: (N, 68, 2 or 3) in crop pixels, one clip; NaN rows where there is no face.
        size: side of the crop in pixels.
        fps: frames per second, for the smoothing.

    Returns:
        (N, size, size) bool; empty where there is no face.
    """
    masks = np.zeros((len(landmarks), size, size), np.uint8)
    present = _present(landmarks)
    if not present.any():
        return masks.astype(bool)
    pose = _smooth_pose(fit_pose(landmarks[present], fixed_scale=True), present, fps)
    lower_head = _lower_head()
    projected = pose.project(lower_head.points)
    radius = _LOWER_FACE_MARGIN * float(pose.scale[0])
    for frame, outline in zip(np.flatnonzero(present), projected, strict=True):
        _fill_hulls(masks[frame], lower_head.hulls(outline))
        masks[frame] = widen(masks[frame], radius)
    return masks.astype(bool)


def _smooth_pose(pose: HeadPose, present: NDArray[np.bool_], fps: float) -> HeadPose:
    """Smooth rotation and translation inside each run of consecutive frames."""
    rotation, translation = pose.rotation.copy(), pose.translation.copy()
    frames = np.flatnonzero(present)
    for run in np.split(np.arange(len(frames)), np.flatnonzero(np.diff(frames) > 1) + 1):
        mean = smooth_in_time(pose.rotation[run], _POSE_SMOOTHING_SECONDS, fps)
        left, _, right = np.linalg.svd(mean)
        rotation[run] = left @ right
        translation[run] = smooth_in_time(pose.translation[run], _POSE_SMOOTHING_SECONDS, fps)
    return HeadPose(pose.scale, rotation, translation)


def lip_mask(landmarks: Landmarks, size: int) -> Mask:
    """Outer lip (48-59), slightly widened: (N, size, size) bool for (N, 68, 2 or 3) in crop pixels."""
    masks = np.zeros((len(landmarks), size, size), np.uint8)
    for frame in np.flatnonzero(_present(landmarks)):
        points = np.asarray(landmarks[frame, :, :2], np.float64)
        _fill_hulls(masks[frame], [points[list(OUTER_LIP)]])
        masks[frame] = widen(masks[frame], max(1.0, _LIP_MARGIN * _reach(points)))
    return masks.astype(bool)


def mouth_mask(landmarks: Landmarks, size: int) -> Mask:
    """Where lips are or can be: (N, size, size) bool for (N, 68, 2 or 3) in crop pixels.

    The hull of the outer lips as they are seen and of those of the canonical head in the same pose, closed
    and open, widened: whatever a mouth says, its lips lie within.
    """
    masks = np.zeros((len(landmarks), size, size), np.uint8)
    present = _present(landmarks)
    if not present.any():
        return masks.astype(bool)
    possible = fit_pose(landmarks[present]).project(_mouth_points())
    for frame, mouth in zip(np.flatnonzero(present), possible, strict=True):
        points = np.asarray(landmarks[frame, :, :2], np.float64)
        _fill_hulls(masks[frame], [np.concatenate([points[list(OUTER_LIP)], mouth])])
        masks[frame] = widen(masks[frame], max(1.0, _MOUTH_MARGIN * _reach(points)))
    return masks.astype(bool)


def _reach(points: Points) -> float:
    """Distance of the outer eye corners, as far as it can be seen.

    Turned heads have a foreshortened eye distance but lips as high as ever: the face's height is taken along.
    """
    right, left = OUTER_EYE_CORNERS
    return float(
        max(np.linalg.norm(points[left] - points[right]), np.linalg.norm(points[27] - points[33]) / 0.57)
    )


def face_mask(landmarks: Landmarks, size: int) -> Mask:
    """Hull of all 68 points and of the forehead: (N, size, size) bool for (N, 68, 2 or 3) crop pixels.

    The forehead, which the 68 points leave out, is that of the canonical head in the same pose.
    """
    masks = np.zeros((len(landmarks), size, size), np.uint8)
    present = _present(landmarks)
    if not present.any():
        return masks.astype(bool)
    forehead = fit_pose(landmarks[present]).project(forehead_points())
    for frame, brow in zip(np.flatnonzero(present), forehead, strict=True):
        points = np.asarray(landmarks[frame, :, :2], np.float64)
        _fill_hulls(masks[frame], [np.concatenate([points, brow])])
    return masks.astype(bool)


@overload
def pool_mask_to_latents(mask: NDArray, stride: int | tuple[int, int, int]) -> NDArray: ...
@overload
def pool_mask_to_latents(mask: torch.Tensor, stride: int | tuple[int, int, int]) -> torch.Tensor: ...


def pool_mask_to_latents(
    mask: NDArray | torch.Tensor, stride: int | tuple[int, int, int]
) -> NDArray | torch.Tensor:
    """Max-pool a mask to the grid of a causal video autoencoder (P: masks max-pooled to the latents).

    In time the first frame stands alone, then come groups of 4; in space blocks of ``stride``.

    Args:
        mask: numpy (N, H, W) or torch (B, N, H, W), bool, integer or float; N = 4k + 1.
        stride: in space, or the codec's (4, s, s).

    Returns:
        the same kind and dtype, (F, H/s, W/s) or (B, F, H/s, W/s), F = k + 1.

    Raises:
        ValueError: N is not 4k + 1, or H or W no multiple of the stride.
    """
    import torch  # a second to import; who finds and follows faces does without
    from torch.nn import functional

    time, rows, columns = (4, stride, stride) if isinstance(stride, int) else stride
    batch = mask if isinstance(mask, torch.Tensor) else torch.from_numpy(np.ascontiguousarray(mask))[None]
    frames, height, width = batch.shape[-3:]
    if batch.ndim != 4 or (frames - 1) % time or height % rows or width % columns:
        raise ValueError(
            f"a mask of {frames} x {height} x {width} does not fit strides {time} x {rows} x {columns}: "
            f"frames must be {time}k + 1, sides multiples of the stride"
        )
    # Repeating the first frame makes it a group of its own without a special case.
    padded = torch.cat([batch[:, :1].expand(-1, time - 1, -1, -1), batch], dim=1)
    kernel = (time, rows, columns)
    pooled = functional.max_pool3d(padded.float()[:, None], kernel, kernel)[:, 0].to(batch.dtype)
    return pooled if isinstance(mask, torch.Tensor) else pooled[0].numpy()
