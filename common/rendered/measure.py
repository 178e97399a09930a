"""How far the mouth is open in any picture of a known scene: analysis by synthesis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from common.face.mouth import mouth_opening
from common.rendered.draw.occluders import draw_occluder
from common.rendered.geometry import mouth_geometry
from common.rendered.render import draw_lower_face, finish, landmarks_of, open_view
from common.rendered.scene import Scene
from common.rendered.visemes import CLOSED, MouthShape

# Typical mouths (relaxed, rounded, spread), each swept from closed to as open as it gets in speech.
# Rounding and spreading belong to the whole sweep, the closed mouth included.
_SWEEPS = tuple(
    tuple(replace(family, open=float(level)) for level in np.arange(0.0, widest + 0.01, 0.125))
    for family, widest in (
        (MouthShape(spread=0.15), 1.0),
        (MouthShape(round=0.75), 0.625),
        (MouthShape(spread=0.8), 0.625),
    )
)
_SOFTEN = 0.8  # px of blur on both sides of the comparison: a reconstruction is never quite sharp
_LEAST_VISIBLE = 0.35  # share of the mouth's pixels


@dataclass(frozen=True)
class MouthSweep:
    """Rendered mouths of one frame: pictures (K, h, w, 3) float32 of the box (x0, y0, w, h) of the measured
    picture, their openings (K,), and the weight (h, w) of each pixel (0 = hidden or outside)."""

    box: tuple[int, int, int, int]
    pictures: np.ndarray
    openings: np.ndarray
    weight: np.ndarray


def _mouth_window(scene: Scene, frame_index: int) -> tuple[int, int, int, int]:
    """The part of the picture that the lips can reach in this frame: x0, y0, w, h."""
    shapes = (MouthShape(open=1.0), MouthShape(spread=1.0), MouthShape())
    pose = scene.pose(frame_index)
    points = np.concatenate([pose.project(mouth_geometry(scene.face, s).outer)[:, :2] for s in shapes])
    margin = 0.06 * pose.unit + 1
    extent = np.array([scene.width, scene.size])
    low = np.clip(np.floor(points.min(axis=0) - margin), 0, extent - 2).astype(int)
    high = np.clip(np.ceil(points.max(axis=0) + margin) + 1, low + 2, extent).astype(int)
    return int(low[0]), int(low[1]), int(high[0] - low[0]), int(high[1] - low[1])


def sweep_mouth(
    scene: Scene, frame_index: int, matrix: np.ndarray | None = None, size: tuple[int, int] | None = None
) -> MouthSweep:
    """Render the frame's mouth region with every shape of the sweep.

    matrix: 2x3 from the scene's px to those of the picture to be measured (a crop), with its `size` (w, h);
    by default the picture is the scene's own frame.
    """
    x0, y0, w, h = _mouth_window(scene, frame_index)
    behind = open_view(scene, frame_index, (x0, y0, w, h))
    pictures, landmarks = [], []
    points = landmarks_of(scene, frame_index, CLOSED)
    for shape in (shape for sweep in _SWEEPS for shape in sweep):
        view, mouth = behind.copy(), mouth_geometry(scene.face, shape)
        draw_lower_face(view, mouth, shape)
        pictures.append(finish(view, grain=False).astype(np.float32))
        landmarks.append(np.concatenate([points[:60], view.pose.project(mouth.inner)]))
    cover = behind.copy()
    cover.canvas.trace = np.zeros((h, w), np.float32)
    draw_occluder(cover)
    weight = (cover.canvas.trace < 0.02).astype(np.float32)
    if matrix is None:
        box, moved = (x0, y0, w, h), pictures
    else:
        box, moved, weight = _move(pictures, weight, (x0, y0), np.asarray(matrix, dtype=np.float64), size)
    soft = np.stack([cv2.GaussianBlur(picture, (0, 0), _SOFTEN) for picture in moved])
    return MouthSweep(box, soft, mouth_opening(np.stack(landmarks)), weight)


def _move(
    pictures: list[np.ndarray],
    weight: np.ndarray,
    origin: tuple[int, int],
    matrix: np.ndarray,
    size: tuple[int, int] | None,
) -> tuple[tuple[int, int, int, int], list[np.ndarray], np.ndarray]:
    """Take the window's pictures into the crop: its box there, the pictures and the weight in that box."""
    if size is None:
        raise ValueError("a crop's matrix needs the crop's size")
    h, w = weight.shape
    corners = np.array([[0, 0, 1], [w - 1, 0, 1], [0, h - 1, 1], [w - 1, h - 1, 1]], dtype=np.float64)
    corners[:, :2] += origin
    reached = corners @ matrix.T
    low = np.clip(np.ceil(reached.min(axis=0)), 0, np.array(size) - 1).astype(int)
    high = np.clip(np.floor(reached.max(axis=0)) + 1, low + 1, size).astype(int)
    local = matrix.copy()
    local[:, 2] += matrix[:, :2] @ np.array(origin, dtype=np.float64) - low
    out = (int(high[0] - low[0]), int(high[1] - low[1]))
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    # Shrinking without a blur would alias, in another way than the crop that is measured.
    blur = 0.4 / scale if scale < 0.9 else 0.0
    moved = []
    for picture in pictures:
        source = cv2.GaussianBlur(picture, (0, 0), blur) if blur else picture
        moved.append(np.asarray(cv2.warpAffine(source, local, out, borderMode=cv2.BORDER_REPLICATE)))
    inside = np.asarray(cv2.warpAffine(weight, local, out, borderMode=cv2.BORDER_CONSTANT))
    return (int(low[0]), int(low[1]), *out), moved, (inside > 0.98).astype(np.float32)


def match_sweep(sweep: MouthSweep, image: np.ndarray) -> float:
    """The opening in `image` (H, W, 3) uint8 in eye-corner distances; NaN if too little is visible."""
    x0, y0, w, h = sweep.box
    weight = sweep.weight
    if weight.mean() < _LEAST_VISIBLE:
        return float("nan")
    seen = cv2.GaussianBlur(image.astype(np.float32), (0, 0), _SOFTEN)[y0 : y0 + h, x0 : x0 + w]
    # A reconstruction may be off in colour as a whole: measure that on the pixels that no mouth changes.
    change = sweep.pictures.std(axis=0).mean(axis=-1)
    steady = weight * (change < 0.15 * change.max() + 1e-6)
    if steady.sum() > 20:
        seen = seen - np.einsum("hwc,hw->c", seen - sweep.pictures.mean(axis=0), steady) / steady.sum()
    total = float(weight.sum())
    error = ((sweep.pictures - seen) ** 2).mean(axis=-1)
    costs = np.einsum("khw,hw->k", error, weight) / total
    best, start = int(costs.argmin()), 0
    for length in map(len, _SWEEPS):
        if best < start + length:
            break
        start += length
    return _refined_minimum(costs[start : start + length], sweep.openings[start : start + length])


def _refined_minimum(costs: np.ndarray, openings: np.ndarray) -> float:
    """Vertex of the parabola through the lowest cost and its neighbours, in units of `openings`."""
    k = int(costs.argmin())
    position = float(k)
    if 0 < k < len(costs) - 1:
        before, here, after = costs[k - 1 : k + 2]
        position += 0.5 * float((before - after) / max(before - 2 * here + after, 1e-9))
    return float(np.interp(position, np.arange(len(costs)), openings))


def opening_curves(
    scene: Scene,
    clips: Sequence[Sequence[np.ndarray]],
    matrices: Sequence[np.ndarray] | None = None,
) -> np.ndarray:
    """Openings of the mouth in several versions of one clip of a known scene (say input and output).

    Each picture is compared with rendered mouths of the same frame; all versions share these, so a further
    version costs next to nothing. A version may be blurred or repainted.

    Args:
        clips: the frames (H, W, 3) uint8 of each version, from the scene's first frame on.
        matrices: scene px -> crop px, 2x3 for each frame; without them the frames are whole pictures.

    Returns:
        (clips, N) float64 as `common.face.mouth.mouth_opening` defines it, NaN where an occluder hides most
        of the mouth.
    """
    found = np.empty((len(clips), len(clips[0])))
    for i, images in enumerate(zip(*clips, strict=True)):
        size = (images[0].shape[1], images[0].shape[0])
        sweep = sweep_mouth(scene, i, None if matrices is None else matrices[i], size)
        found[:, i] = [match_sweep(sweep, image) for image in images]
    return found
