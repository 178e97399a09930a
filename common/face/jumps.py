"""Landmarks that a detector has lost for a frame or two: told by those of the frames around them.

A head that moves does so over several frames, and the bones of a face keep their shape. Where the eyes and
the nose of a frame lie otherwise to each other than the frames around it foretell, they were lost.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from common.face.layout import RIGID_UPPER
from common.face.pose import fit_pose

Array = NDArray[np.float64]
Landmarks = NDArray[np.floating]

JUMP = 0.1
"""Eye-corner distances by which a point of the upper face lies beside where it is foretold, the movement of
all taken out. In 30 clips of 28 to 200 frames it is .08 at the most but for three frames of one, .14 to .23,
whose mesh can be seen to lie beside the face."""

# The frames that foretell one lie within so many frames of it.
_REACH = 4
# Faces whose size is looked at: they have one size, nearly.
_SIZES = 50


def jumps(landmarks: Landmarks, frames: NDArray[np.int64], unit: float) -> NDArray[np.bool_]:
    """Which frames' landmarks are not to be trusted.

    Each frame is foretold by the cubic through the two frames before and after it, which follows heads that
    nod and shake. The one farthest off is left out and its neighbours are foretold anew without it, until
    none is farther off than :data:`JUMP`; then those are taken back that the frames which are left foretell.

    Args:
        landmarks: (N, 68, 2 or 3) of one face in one shot.
        frames: (N,) their frames, rising.
        unit: pixels of one eye-corner distance.

    Returns:
        (N,). The first and last two frames are not judged, nor those beside a gap.
    """
    count = len(landmarks)
    jumped = np.zeros(count, bool)
    if count < 5:
        return jumped
    points = np.asarray(landmarks[:, list(RIGID_UPPER), :2], np.float64) / max(unit, 1e-6)
    off = np.zeros(count)
    inner = np.arange(2, count - 2)
    off[inner] = _off(points, frames, inner, inner[:, None] + np.array([-2, -1, 1, 2]))

    def told_anew(frame: int) -> float:
        """How far a frame is off by the nearest frames that are trusted."""
        low = max(0, frame - _REACH)
        before = low + np.flatnonzero(~jumped[low:frame])[-2:]
        after = frame + 1 + np.flatnonzero(~jumped[frame + 1 : frame + 1 + _REACH])[:2]
        if not len(before) == len(after) == 2:
            return 0.0
        return float(_off(points, frames, np.array([frame]), np.concatenate([before, after])[None])[0])

    while off.max() > JUMP:
        worst = int(off.argmax())
        jumped[worst], off[worst] = True, 0.0
        for near in range(max(2, worst - _REACH), min(count - 2, worst + _REACH + 1)):
            if not jumped[near]:
                off[near] = told_anew(near)
    for frame in sorted(np.flatnonzero(jumped).tolist(), key=told_anew):
        jumped[frame] = told_anew(frame) > JUMP
    return jumped


def repair(landmarks: Landmarks, boxes: NDArray[np.floating], frames: NDArray[np.int64]) -> None:
    """Put what lies between the frames around them in the place of :func:`jumps`, in place.

    Args:
        landmarks: (N, 68, 3). boxes: (N, 4). frames: (N,) their frames, rising.
    """
    some = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), _SIZES)).astype(int))
    unit = float(np.median(fit_pose(np.asarray(landmarks[some], np.float64)).scale)) if len(some) else 1.0
    jumped = jumps(landmarks, frames, unit)
    if not jumped.any():
        return
    kept = np.flatnonzero(~jumped)
    for values in (landmarks, boxes):
        flat = values.reshape(len(values), -1)
        for column in range(flat.shape[1]):
            flat[jumped, column] = np.interp(frames[jumped], frames[kept], flat[kept, column])


def _off(points: Array, frames: NDArray[np.int64], at: NDArray[np.int64], by: NDArray[np.int64]) -> Array:
    """(K,) how far the points of frames ``at`` (K,) lie beside what frames ``by`` (K, 4) foretell."""
    places = (frames[by] - frames[at][:, None]).astype(np.float64)
    foretold = np.zeros((len(at), *points.shape[1:]))
    for k in range(4):
        others = np.delete(places, k, axis=1)
        weight = np.prod(-others / (places[:, k : k + 1] - others), axis=1)
        foretold += weight[:, None, None] * points[by[:, k]]
    beside = points[at] - foretold
    beside -= np.median(beside, axis=1, keepdims=True)
    far = np.linalg.norm(beside, axis=-1).max(axis=1)
    return np.where(np.abs(places).max(axis=1) <= _REACH, far, 0.0)
