"""Square crops that follow the head: planned from the track, cut out, put back."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from common.face.canonical import face_points, opened_face_points
from common.face.pose import Array, fit_pose, smooth_in_time
from common.face.shrinking import shrunk
from common.face.track import FaceTrack
from common.face.types import FloatArray, ImageArray

CROP_SCALE = 1.45
# Standard deviation of the Gaussian over the centre: one frame at 25 fps takes the worst of the jitter. Any
# calmer, and a head that moves fast moves inside its crop, more than in any clip of training.
SMOOTHING_SECONDS = 0.04
# A square whose side is rounded to whole pixels is shrunk by less than this, and not to be softened for it.
_AS_IT_IS = 0.01


Part = tuple[slice, slice]


@dataclass(frozen=True)
class CropTrack:
    """One square per frame, in source pixels (an integer coordinate is the centre of a pixel).

    Attributes:
        centers: (N, 2) float64, NaN where there is no face.
        sizes: (N,) float64 side lengths, one value per run of frames with a face, NaN where there is none.
    """

    centers: Array
    sizes: Array

    def __len__(self) -> int:
        return len(self.centers)

    def __getitem__(self, part: slice) -> CropTrack:
        return CropTrack(self.centers[part], self.sizes[part])

    @property
    def present(self) -> NDArray[np.bool_]:
        """(N,) bool: frames that have a crop."""
        return np.isfinite(self.sizes)

    @property
    def size(self) -> float:
        """Side length of the clip: that of its one segment, the median over frames of several."""
        return float(np.median(self.sizes[self.present])) if self.present.any() else float("nan")

    def matrix(self, index: int, out_size: int) -> Array:
        """(2, 3) affine matrix from source pixels to pixels of the crop at ``out_size``.

        Raises:
            ValueError: the frame has no crop.
        """
        if not np.isfinite(self.sizes[index]):
            raise ValueError(f"frame {index} has no face and so no crop")
        scale = out_size / self.sizes[index]
        shift = (out_size - 1) / 2 - scale * self.centers[index]
        return np.array([[scale, 0, shift[0]], [0, scale, shift[1]]], np.float64)

    def extract(self, image: ImageArray, index: int, out_size: int, part: Part | None = None) -> ImageArray:
        """Crop of frame ``index`` from ``image`` (H, W, 3): (out_size, out_size, 3), edges reflected.

        A picture (H, W) of one channel gives (out_size, out_size).

        ``part``: rows and columns of the crop that are wanted; None: all.
        """
        rows, columns = (slice(0, out_size),) * 2 if part is None else part
        matrix, shape = self.matrix(index, out_size), (columns.stop - columns.start, rows.stop - rows.start)
        matrix[:, 2] -= columns.start, rows.start
        if matrix[0, 0] <= 1 / 2 and image.dtype == np.uint8:
            return shrunk(image, matrix, shape)
        return _warp(image, matrix, shape, cv2.BORDER_REFLECT_101)

    def landmarks(self, landmarks: FloatArray, index: int, out_size: int) -> FloatArray:
        """Landmarks (68, 3) of frame ``index`` in crop pixels; depth is scaled along."""
        matrix = self.matrix(index, out_size)
        across, down = matrix[0, 0], matrix[1, 1]
        moved = np.asarray(landmarks, np.float64) * np.array([across, down, across])[: landmarks.shape[-1]]
        moved[:, :2] += matrix[:, 2]
        return moved.astype(np.float32)

    def paste(
        self, image: ImageArray, crop: ImageArray, alpha: NDArray[np.floating], index: int
    ) -> ImageArray:
        """Blend ``crop`` back into a copy of ``image``.

        Args:
            image: (H, W, 3) uint8 source frame.
            crop: (S, S, 3) uint8.
            alpha: (S, S), 0 keeps the image, 1 takes the crop. Nothing outside the square is touched.
            index: frame.

        Returns:
            (H, W, 3) uint8; where alpha is 0 the bytes are those of ``image``.
        """
        result = image.copy()
        opacity = np.clip(alpha, 0, 1, dtype=np.float32)
        place = self._place(result, index, crop, opacity)
        if place is None:
            return result
        window, back = place
        shape = (window.shape[1], window.shape[0])
        colour = _warp(crop, back, shape, cv2.BORDER_REPLICATE)
        weight = _warp(opacity, back, shape, cv2.BORDER_CONSTANT)
        window[:] = cv2.blendLinear(window, colour, 1 - weight, weight)
        return result

    def add(
        self, image: ImageArray, change: NDArray[np.floating], alpha: NDArray[np.floating], index: int
    ) -> ImageArray:
        """Add a change of the crop to a copy of ``image``, which keeps its own sharpness.

        Args:
            image: (H, W, 3) uint8 source frame.
            change: (S, S, 3), in 8-bit steps.
            alpha: (S, S), 0 keeps the image, 1 adds the whole change. Nothing outside the square is touched.
            index: frame.

        Returns:
            (H, W, 3) uint8; where alpha is 0 the bytes are those of ``image``.
        """
        result = image.copy()
        opacity = np.asarray(alpha, np.float32)
        place = self._place(result, index, change, opacity)
        if place is None:
            return result
        window, back = place
        # Faded before it is scaled: what is exactly 0 in the crop stays so.
        faded = np.asarray(change, np.float32) * opacity[..., None]
        added = _warp(faded, back, (window.shape[1], window.shape[0]), cv2.BORDER_CONSTANT)
        window[:] = cv2.add(window, added, dtype=cv2.CV_8U)
        return result

    def _place(
        self, image: ImageArray, index: int, crop: NDArray, opacity: FloatArray
    ) -> tuple[ImageArray, Array] | None:
        """The part of ``image`` in which the crop is seen, a view, and the matrix from crop to it."""
        size = crop.shape[0]
        if crop.shape != (size, size, 3) or opacity.shape != (size, size):
            raise ValueError(f"crop {crop.shape} and alpha {opacity.shape} must be one square")
        left, top, width, height = cv2.boundingRect((opacity != 0).astype(np.uint8))
        back = np.asarray(cv2.invertAffineTransform(self.matrix(index, size)), np.float64)
        # Resampled pixels reach as far as their neighbours: in the crop, and in the image.
        first = back @ [left - 1, top - 1, 1] - 1
        last = back @ [left + width, top + height, 1] + 1
        corner = self.centers[index] - self.sizes[index] / 2
        low = np.floor(np.maximum(corner, first)).astype(int).clip(min=0)
        high = np.ceil(np.minimum(corner + self.sizes[index], last) + 1).astype(int)
        high = high.clip(max=(image.shape[1], image.shape[0]))
        if width == 0 or (high <= low).any():
            return None
        back[:, 2] -= low
        return image[low[1] : high[1], low[0] : high[0]], back


def _warp(image: NDArray, matrix: Array, shape: tuple[int, int], border: int) -> NDArray:
    """Affine resampling to ``shape`` (width, height) without aliasing.

    Shrinking goes through a picture that is a whole number of times too large, whose blocks are then
    averaged.
    """
    scale = matrix[0, 0]
    factor = max(1, int(np.ceil(1 / scale - _AS_IT_IS)))
    # Weights stay between their neighbours; pictures gain sharpness from a cubic.
    kind = cv2.INTER_CUBIC if factor == 1 and image.dtype == np.uint8 else cv2.INTER_LINEAR
    if factor == 1:
        return np.asarray(cv2.warpAffine(image, matrix, shape, flags=kind, borderMode=border))
    fine = matrix * factor
    # Pixel centres: (x + 1/2) scales, not x.
    fine[:, 2] += (factor - 1) / 2
    large = cv2.warpAffine(image, fine, (shape[0] * factor, shape[1] * factor), flags=kind, borderMode=border)
    return np.asarray(cv2.resize(large, shape, interpolation=cv2.INTER_AREA))


def _face_extent() -> tuple[Array, float]:
    """Centre (3,) and side of "the face": temple to temple, brows to a chin three quarters of the way down.

    With that chin the mask of the widest jaw ends at 0.9 of the square: clear of the outermost ring of
    latents, which border replacement pins to the source, even on a grid of 12.
    """
    closed, opened = face_points(), opened_face_points()
    low = closed.min(axis=0)
    high = np.maximum(closed.max(axis=0), (0.25 * closed + 0.75 * opened).max(axis=0))
    return (low + high) / 2, float((high - low)[:2].max())


def frame_crops(track: FaceTrack, width: int, height: int) -> CropTrack:
    """The smallest square around the whole picture, for every frame with a face.

    Args:
        track: face of the clip.
        width, height: of the picture, pixels.
    """
    present = track.present
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    return CropTrack(
        np.where(present[:, None], centre, np.nan), np.where(present, float(max(width, height)), np.nan)
    )


def plan_crops(
    track: FaceTrack, scale: float = CROP_SCALE, smoothing: float = SMOOTHING_SECONDS, fps: float = 25.0
) -> CropTrack:
    """Plan the squares of a clip: ``scale`` x the face, one size per segment, a calm centre (R: 1.45,
    smoothed).

    Face size and place are those of the canonical head fitted to the rigid upper points: a crop that followed
    the chin would move with the jaw, and its place would give the speech away. Neither centre nor size
    changes when mouth or jaw landmarks do.

    Args:
        track: face of the clip; each run of frames with a face is a segment of its own.
        scale: side of the square over the size of the face.
        smoothing: standard deviation of the Gaussian over the centre, seconds; 0 = none.
        fps: frames per second of the track.
    """
    centers, sizes = np.full((len(track), 2), np.nan), np.full(len(track), np.nan)
    middle, extent = _face_extent()
    for segment in track.segments():
        pose = fit_pose(track.landmarks[segment])
        centers[segment] = smooth_in_time(pose.project(middle[None])[:, 0], smoothing, fps)
        sizes[segment] = scale * extent * np.median(pose.scale)
    return CropTrack(centers, sizes)
