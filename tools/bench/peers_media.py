"""The usual way of dubbers around their model: a PNG per frame, affine resampling in numpy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]


def frames_to_png(video: Path, folder: Path, count: int) -> list[Path]:
    """Decode with OpenCV; every frame becomes a PNG."""
    capture = cv2.VideoCapture(str(video))
    written: list[Path] = []
    while len(written) < count:
        whole, picture = capture.read()
        if not whole:
            break
        written.append(folder / f"{len(written):06d}.png")
        cv2.imwrite(str(written[-1]), picture)
    capture.release()
    return written


def read_pngs(files: list[Path]) -> Iterator[Picture]:
    """(H, W, 3) uint8 RGB."""
    for file in files:
        yield np.ascontiguousarray(cv2.imread(str(file))[..., ::-1])


def warp(picture: NDArray, matrix: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float32]:
    """Bilinear affine resampling in numpy.

    Args:
        picture: (H, W, C).
        matrix: (2, 3), from the result's pixels to the picture's.
        size: width and height of the result.
    """
    columns, rows = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    x = matrix[0, 0] * columns + matrix[0, 1] * rows + matrix[0, 2]
    y = matrix[1, 0] * columns + matrix[1, 1] * rows + matrix[1, 2]
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    across, down = (x - left)[..., None], (y - top)[..., None]
    height, width = picture.shape[:2]
    inside = (left >= 0) & (top >= 0) & (left < width - 1) & (top < height - 1)
    left, top = left.clip(0, width - 2), top.clip(0, height - 2)
    upper = picture[top, left] * (1 - across) + picture[top, left + 1] * across
    lower = picture[top + 1, left] * (1 - across) + picture[top + 1, left + 1] * across
    return ((upper * (1 - down) + lower * down) * inside[..., None]).astype(np.float32)


def put_back(picture: Picture, crop: NDArray, alpha: NDArray, matrix: NDArray[np.float64]) -> Picture:
    """Blend a crop into the whole picture; ``matrix`` leads from the picture's pixels to the crop's."""
    size = (picture.shape[1], picture.shape[0])
    colour, weight = warp(crop, matrix, size), warp(alpha[..., None], matrix, size)
    return np.clip(picture * (1 - weight) + colour * weight, 0, 255).astype(np.uint8)
