"""Pictures for looking at results: contact sheets and videos side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from common.files import PathLike, atomic_path

_BAND = 22
_JPEG_QUALITY = 88
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def _labelled(image: np.ndarray, label: str) -> np.ndarray:
    """The image under a dark band with the label (drawn in ASCII; other letters become '?')."""
    band = np.full((_BAND, image.shape[1], 3), 24, dtype=np.uint8)
    text = label.encode("ascii", "replace").decode("ascii")
    scale = 0.5
    (width, _), _ = cv2.getTextSize(text, _FONT, scale, 1)
    scale *= min(1.0, (image.shape[1] - 8) / max(width, 1))
    cv2.putText(band, text, (4, _BAND - 7), _FONT, scale, (235, 235, 235), 1, cv2.LINE_AA)
    return np.concatenate([band, image])


def _to_height(image: np.ndarray, height: int) -> np.ndarray:
    if image.shape[0] == height:
        return image
    width = max(1, round(image.shape[1] * height / image.shape[0]))
    how = cv2.INTER_AREA if height < image.shape[0] else cv2.INTER_CUBIC
    return cv2.resize(image, (width, height), interpolation=how)


def tile(images: Sequence[np.ndarray], labels: Sequence[str] | None = None) -> np.ndarray:
    """Images of one moment beside each other, scaled to the first one's height.

    Args:
        images: (H, W, 3) uint8 each.
        labels: one per image, or None for no text.

    Returns:
        (H', W', 3) uint8; H' and W' even, so that every player shows it.
    """
    if not images or (labels is not None and len(labels) != len(images)):
        raise ValueError("tile needs at least one image and one label per image")
    height = images[0].shape[0]
    parts = [_to_height(image, height) for image in images]
    if labels is not None:
        parts = [_labelled(part, label) for part, label in zip(parts, labels, strict=True)]
    joined = np.concatenate(parts, axis=1)
    return np.pad(joined, ((0, joined.shape[0] % 2), (0, joined.shape[1] % 2), (0, 0)), mode="edge")


def side_by_side(*videos: np.ndarray, labels: Sequence[str] | None = None) -> np.ndarray:
    """(N, H, W, 3) uint8 videos beside each other, cut to the shortest.

    For long videos call :func:`tile` frame by frame instead.
    """
    if not videos:
        raise ValueError("side_by_side needs at least one video")
    return np.stack([tile(images, labels) for images in zip(*videos, strict=False)])


def contact_sheet(
    rows: Sequence[tuple[str, np.ndarray]], path: PathLike, columns: int = 12, height: int = 128
) -> None:
    """Write a picture with one row of evenly spaced frames per video. Whole or absent.

    Args:
        rows: (label, (N, H, W, 3) uint8 frames), N >= 1; rows with the same N show the same moments.
        path: a PNG; a JPEG, several times smaller, where the suffix is ``.jpg`` or ``.jpeg``.
        columns: at most so many frames of each video.
        height: of a frame in the sheet, pixels.
    """
    if not rows or any(len(frames) == 0 for _, frames in rows):
        raise ValueError("contact_sheet needs at least one row and one frame in each")
    strips = []
    for label, frames in rows:
        count = min(columns, len(frames))
        # The middles of equal shares: for few columns neither the first nor the last frame misleads.
        picks = ((np.arange(count) + 0.5) * len(frames) / count).astype(int)
        strips.append(
            _labelled(np.concatenate([_to_height(frames[i], height) for i in picks], axis=1), label)
        )
    width = max(strip.shape[1] for strip in strips)
    sheet = np.concatenate([np.pad(s, ((0, 0), (0, width - s.shape[1]), (0, 0))) for s in strips])
    jpeg = Path(path).suffix.lower() in (".jpg", ".jpeg")
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if jpeg else []
    done, data = cv2.imencode(".jpg" if jpeg else ".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR), options)
    if not done:
        raise RuntimeError("OpenCV cannot write the picture")
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.tobytes())
