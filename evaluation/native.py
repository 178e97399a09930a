"""Numbers of each frame at the video's own size.

A crop of 256 pixels has lost the sharpness of a face of 700, and what lies outside of it is not in it at all.
The loader, which sees every frame once, calls :func:`measure_frame` for each moment and version, and
:func:`as_curves` at the end::

    rows = {"source": [], "made": []}
    for index in ...:                                    # one clock of 25 per second
        square = square_of(crops, index)                 # of the SOURCE's plan; None without a face
        points = landmarks[index]                        # of the SOURCE, frame pixels; NaN without a face
        rows["source"].append(measure_frame(source_image, square, points))
        rows["made"].append(measure_frame(made_image, square, points, reference=source_image))
    Footage(..., native=as_curves(rows["made"]))

The truth and the first dub of a cycle row are measured like ``made``. A version of another size is brought to
the source's size before, by the loader, which notes that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from common.face import CropTrack
from common.face.layout import OUTER_LIP
from evaluation.dubbed_clip import Curve, Frames
from evaluation.similarity import SSIM_REACH, luma, ssim_map

VERSION = "native-1"
"""Part of the fingerprint of every metric that reads :attr:`Footage.native`."""

SHARPNESS, OUTSIDE_MSE, OUTSIDE_SSIM = "sharpness", "outside_mse", "outside_ssim"

# Takes away grain and coding noise, which would count as sharpness, and no more of a lip's edge than the eye
# misses.
_PRE_BLUR = 1.0
# Half sizes of the mouth's box in widths of the lips: also holds a mouth that another version has opened.
_MOUTH_REACH = (0.65, 0.5)
# Fewer pixels say nothing of sharpness.
_LEAST_MOUTH = 8
_SSIM_WIDTH = 512


class Square(NamedTuple):
    """The square of a face crop in frame pixels: left, top, side."""

    left: float
    top: float
    side: float

    def box(self, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
        """(top, bottom, left, right) of the pixels that putting the crop back may touch, inside the frame."""
        top, left = (max(0, int(np.floor(x))) for x in (self.top, self.left))
        bottom = min(shape[0], int(np.ceil(self.top + self.side + 1)))
        right = min(shape[1], int(np.ceil(self.left + self.side + 1)))
        return top, max(top, bottom), left, max(left, right)


def square_of(crops: CropTrack, index: int) -> Square | None:
    """The square of frame ``index``, None where it has no face."""
    side = float(crops.sizes[index])
    if not np.isfinite(side):
        return None
    left, top = (float(x) for x in crops.centers[index] - side / 2)
    return Square(left, top, side)


def measure_frame(
    image: Frames,
    square: Square | None,
    landmarks: NDArray[np.floating] | None,
    reference: Frames | None = None,
) -> dict[str, float]:
    """Numbers of one frame of one version.

    Args:
        image: (H, W, 3) uint8 RGB.
        square: of the source's face; None where there is none: then the whole frame is outside.
        landmarks: (68, 2 or 3) of the source's face in frame pixels; None or NaN where there is none.
        reference: (H, W, 3) the source at the same moment; None for the source itself.

    Returns:
        sharpness: :func:`mouth_sharpness`; with landmarks only.
        outside_mse: mean squared error (grey levels squared, over R, G, B) of the pixels outside the square.
        outside_ssim: mean SSIM there, on luma, of frames at most 512 pixels wide.
        The last two with a reference only, and where there is an outside.

    Raises:
        ValueError: image and reference differ in size.
    """
    values: dict[str, float] = {}
    if landmarks is not None and np.isfinite(landmarks[:, :2]).all():
        sharpness = mouth_sharpness(image, landmarks)
        if sharpness is not None:
            values[SHARPNESS] = sharpness
    if reference is None:
        return values
    if image.shape != reference.shape:
        raise ValueError(
            f"the frame is {image.shape}, the source's {reference.shape}: bring them to one size"
        )
    box = square.box(image.shape) if square is not None else (0, 0, 0, 0)
    mse = _outside_mse(image, reference, box)
    ssim = _outside_ssim(image, reference, box)
    if mse is not None:
        values[OUTSIDE_MSE] = mse
    if ssim is not None:
        values[OUTSIDE_SSIM] = ssim
    return values


def as_curves(rows: Sequence[dict[str, float]]) -> dict[str, Curve]:
    """(N,) curves of what N frames gave; NaN where a frame lacks a number."""
    names = sorted({name for row in rows for name in row})
    return {name: np.array([row.get(name, np.nan) for row in rows], np.float64) for name in names}


def mouth_sharpness(image: Frames, landmarks: NDArray[np.floating]) -> float | None:
    """Variance of the Laplacian of the luma around the lips, after a Gaussian of one pixel.

    Source: Pech-Pacheco et al. 2000 (LAPV); the blur and the box are ours.

    Args:
        image: (H, W, 3) uint8.
        landmarks: (68, 2 or 3) finite, frame pixels.

    Returns:
        grey levels squared; None where the mouth is outside the frame or only a few pixels wide.
    """
    lips = np.asarray(landmarks[list(OUTER_LIP), :2], np.float64)
    low, high = lips.min(axis=0), lips.max(axis=0)
    # The longer side: a mouth seen from the side is narrow, one that shouts is high.
    reach = float((high - low).max()) * np.array(_MOUTH_REACH)
    corner = np.rint((low + high) / 2 - reach).astype(int).clip(min=0)
    end = np.rint((low + high) / 2 + reach).astype(int).clip(max=(image.shape[1], image.shape[0]))
    if (end - corner).min() < _LEAST_MOUTH:
        return None
    mouth = luma(np.ascontiguousarray(image[corner[1] : end[1], corner[0] : end[0]]))
    laplacian = cv2.Laplacian(cv2.GaussianBlur(mouth, (0, 0), _PRE_BLUR), cv2.CV_32F)
    return float(laplacian.var())


def _outside_mse(image: Frames, reference: Frames, box: tuple[int, int, int, int]) -> float | None:
    top, bottom, left, right = box
    values = image.size - 3 * (bottom - top) * (right - left)
    if values <= 0:
        return None
    error = cv2.norm(image, reference, cv2.NORM_L2SQR)
    if bottom > top and right > left:
        inside = (slice(top, bottom), slice(left, right))
        error -= cv2.norm(image[inside], reference[inside], cv2.NORM_L2SQR)
    return float(error / values)


def _outside_ssim(image: Frames, reference: Frames, box: tuple[int, int, int, int]) -> float | None:
    scale = min(1.0, _SSIM_WIDTH / image.shape[1])
    height, width = max(1, round(image.shape[0] * scale)), max(1, round(image.shape[1] * scale))
    outside = np.ones((height, width), bool)
    top, bottom, left, right = box
    if bottom > top and right > left:
        # Pixels near the square see into it.
        rows = (int(top * scale) - SSIM_REACH, int(np.ceil(bottom * scale)) + SSIM_REACH)
        columns = (int(left * scale) - SSIM_REACH, int(np.ceil(right * scale)) + SSIM_REACH)
        outside[max(0, rows[0]) : rows[1], max(0, columns[0]) : columns[1]] = False
    if not outside.any():
        return None
    small = [_small_luma(x, (width, height)) for x in (image, reference)]
    return float(ssim_map(*small)[outside].mean(dtype=np.float64))


def _small_luma(image: Frames, shape: tuple[int, int]) -> NDArray[np.float32]:
    # Rounded to whole levels before shrinking: three times as fast, and averaged away by it.
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    if shape != (image.shape[1], image.shape[0]):
        gray = cv2.resize(gray, shape, interpolation=cv2.INTER_AREA)
    return gray.astype(np.float32)
