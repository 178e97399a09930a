"""Changing what was made: pixels, landmarks, openings and the numbers at native size together."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from common.face.layout import MOUTH, RIGID_UPPER
from common.face.masks import widen
from evaluation.dubbed_clip import Curve, DubbedClip, FaceRegions, Footage, Frames, Mask

# Of the crop's side: width of the soft edge of what is put over a mouth.
_FEATHER = 0.015
# A flat region has hardly any detail: a ratio of two such numbers says nothing.
_LEAST_DETAIL = 1e-3


def with_mouths_of(clip: DubbedClip, origins: NDArray[np.int64]) -> DubbedClip:
    """Frame t gets the mouth of frame ``origins[t]``, moved with the head and softly blended.

    What covers the face in either frame stays as it is in frame t. Frames without a face stay, and a mouth
    from a frame without a face is not taken.
    """
    made, regions = clip.made, clip.regions
    size = made.crops.shape[1]
    crops, landmarks, opening = made.crops.copy(), made.landmarks.copy(), made.opening.copy()
    for here, there in enumerate(origins):
        if here == there or not (made.present[here] and made.present[there]):
            continue
        matrix = _head_motion(made.landmarks[there], made.landmarks[here])

        def moved(picture: NDArray, matrix: NDArray[np.float64] = matrix) -> NDArray:
            border = cv2.BORDER_REPLICATE if picture.ndim == 3 else cv2.BORDER_CONSTANT
            how = cv2.INTER_CUBIC if picture.ndim == 3 else cv2.INTER_NEAREST
            return np.asarray(cv2.warpAffine(picture, matrix, (size, size), flags=how, borderMode=border))

        lips = regions.mouth[here] | moved(regions.mouth[there].astype(np.uint8)).astype(bool)
        weight = soft_weight(lips)
        if regions.occluder is not None:
            covered = moved(regions.occluder[there].astype(np.uint8)).astype(bool) | regions.occluder[here]
            weight = weight * ~covered
        crops[here] = mix(made.crops[here], moved(made.crops[there]), weight)
        mouth = made.landmarks[there, list(MOUTH)].astype(np.float64)
        scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
        landmarks[here, list(MOUTH), :2] = mouth[:, :2] @ matrix[:, :2].T + matrix[:, 2]
        landmarks[here, list(MOUTH), 2] = mouth[:, 2] * scale
        opening[here] = made.opening[there]
    native = native_after(made, crops, regions)
    changed = replace(made, crops=crops, landmarks=landmarks, opening=opening, native=native)
    return replace(clip, made=changed)


def _head_motion(there: NDArray[np.float32], here: NDArray[np.float32]) -> NDArray[np.float64]:
    """(2, 3) similarity from the head of one frame to that of another, by points that no mouth moves."""
    # As complex numbers a similarity of the plane is one factor and one shift.
    rigid = list(RIGID_UPPER)
    a, b = (points[rigid, 0].astype(np.float64) + 1j * points[rigid, 1] for points in (there, here))
    centre_a, centre_b = a.mean(), b.mean()
    turn = np.vdot(a - centre_a, b - centre_b) / np.vdot(a - centre_a, a - centre_a).real
    shift = centre_b - turn * centre_a
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def soft_weight(mask: Mask) -> NDArray[np.float32]:
    """(S, S) weights: 1 on the mask, falling to 0 around it."""
    sigma = max(1.0, _FEATHER * mask.shape[-1])
    grown = widen(mask.astype(np.uint8), 2 * sigma).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(grown, (0, 0), sigma), np.float32)


def mix(below: Frames, above: Frames, weight: NDArray[np.floating]) -> Frames:
    mixed = below + weight[..., None] * (above.astype(np.float32) - below)
    return np.asarray(np.clip(np.rint(mixed), 0, 255), np.uint8)


def native_after(before: Footage, crops: Frames, regions: FaceRegions) -> dict[str, Curve]:
    """The numbers at native size once the crops have become ``crops``: see the module."""
    ratios: dict[str, Curve] = {}
    native = dict(before.native)
    for key, curve in before.native.items():
        if not key.startswith("sharpness"):
            continue
        where = "face" if "face" in key else "mouth"
        if where not in ratios:
            mask = regions.mouth if where == "mouth" else regions.face
            ratios[where] = _detail(crops, mask) / _detail(before.crops, mask)
        native[key] = curve * ratios[where]
    return native


def _detail(crops: Frames, mask: Mask) -> Curve:
    """(N,) variance of the Laplacian inside the mask; NaN where the mask is empty."""
    found = np.full(len(crops), np.nan)
    for index in np.flatnonzero(mask.any(axis=(1, 2))):
        # Grain and coding noise are no sharpness.
        grey = cv2.GaussianBlur(cv2.cvtColor(crops[index], cv2.COLOR_RGB2GRAY), (0, 0), 1.0)
        found[index] = cv2.Laplacian(grey, cv2.CV_32F)[mask[index]].var() + _LEAST_DETAIL
    return found
