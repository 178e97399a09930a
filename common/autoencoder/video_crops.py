"""Square crops of whole folders of videos, held in memory for the training of the autoencoder.

A video's square is 1.45 x the face where a track file ``<stem>.track.safetensors`` (``boxes`` (N, 4) xyxy in
video pixels, NaN rows where there is no face) lies beside it, else the largest centred square. Crops are kept
somewhat larger than the model's crop so that shifts and zooms can be drawn later without black borders.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.numpy import load_file
from torch import Tensor

from common.autoencoder.pixels import to_video
from common.errors import UserError
from common.media import VideoReader

VIDEO_SUFFIXES = frozenset({".mp4", ".mkv", ".mov", ".webm", ".avi", ".m4v"})
# Kept side over the model's crop: room for shifts and for zooming out.
MARGIN = 1.25


@dataclass(frozen=True)
class CropClip:
    """One video's crops: frames (N, side, side, 3) uint8 RGB, ``side`` = MARGIN x the model's crop."""

    name: str
    frames: np.ndarray


def find_videos(folders: Sequence[str | Path]) -> list[Path]:
    """All video files below the folders, in name order. Raises UserError when there are none."""
    videos: list[Path] = []
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder of videos; check autoencoder.folders.")
        videos += sorted(path for path in folder.rglob("*") if _is_video(path))
    if not videos:
        raise UserError(
            f"No video files below {', '.join(map(str, folders)) or 'no folder'}; check autoencoder.folders."
        )
    return videos


def _is_video(path: Path) -> bool:
    # Names that begin with a dot are files that another process is still writing.
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".")


def load_clip(path: Path, crop_size: int, max_frames: int, scale: float = 1.45) -> CropClip:
    """Decode the first ``max_frames`` frames of one video into squares of MARGIN * ``crop_size`` pixels."""
    side = round(crop_size * MARGIN)
    with VideoReader(path) as reader:
        squares = _squares(path, reader.info.width, reader.info.height, scale)
        frames = []
        for i, frame in enumerate(islice(reader, max_frames)):
            x, y, square = squares[min(i, len(squares) - 1)]
            frames.append(_cut(frame.image, x, y, square, side))
    if not frames:
        raise UserError(f"{path}: holds no decodable frame; remove it or name another folder.")
    return CropClip(path.name, np.stack(frames))


def load_clips(videos: Iterable[Path], crop_size: int, max_frames: int, shortest: int) -> list[CropClip]:
    """Clips of at least ``shortest`` frames, at most ``max_frames`` in all, shared by the videos."""
    paths = list(videos)
    clips: list[CropClip] = []
    left = max_frames
    for i, path in enumerate(paths):
        # What short videos leave over goes to those after them.
        share = max(shortest, left // (len(paths) - i))
        if share > left:
            break
        clip = load_clip(path, crop_size, share)
        if len(clip.frames) >= shortest:
            clips.append(clip)
            left -= len(clip.frames)
    if not clips:
        raise UserError(
            f"None of {len(paths)} videos has {shortest} frames; name longer ones in autoencoder.folders."
        )
    return clips


def random_windows(
    clips: Sequence[CropClip], rng: np.random.Generator, count: int, frames: int, size: int, cut: int = 0
) -> Tensor:
    """Windows with random place, zoom, shift and flip -> (count, 3, frames, side, side) in [-1, 1].

    Zooms are those of crops of ``size`` px; ``side`` is ``size``, or ``cut`` px, a part of such a crop.
    """
    cut = min(cut or size, size)
    long_enough = [clip for clip in clips if len(clip.frames) >= frames]
    # Longer clips hold more that is different.
    weights = np.array([len(clip.frames) for clip in long_enough], dtype=np.float64)
    out = []
    for k in rng.choice(len(long_enough), size=count, p=weights / weights.sum()):
        video = long_enough[k].frames
        start = int(rng.integers(len(video) - frames + 1))
        side = int(rng.integers(round(0.8 * size), video.shape[1] + 1))
        y, x = (int(rng.integers(video.shape[1] - side + 1)) for _ in range(2))
        window = video[start : start + frames, y : y + side, x : x + side]
        whole = _resized(window[:, :, ::-1] if rng.random() < 0.5 else window, size)
        top, left = (int(rng.integers(size - cut + 1)) for _ in range(2))
        out.append(whole[..., top : top + cut, left : left + cut])
    return torch.stack(out)


def central_window(clip: CropClip, frames: int, size: int, start: int = 0) -> Tensor:
    """The model's own crop, unchanged -> (3, frames, size, size) in [-1, 1]."""
    edge = (clip.frames.shape[1] - size) // 2
    return _resized(clip.frames[start : start + frames, edge : edge + size, edge : edge + size], size)


def _resized(window: np.ndarray, size: int) -> Tensor:
    if window.shape[1] != size:
        method = cv2.INTER_AREA if window.shape[1] > size else cv2.INTER_LINEAR
        window = np.stack(
            [cv2.resize(np.ascontiguousarray(f), (size, size), interpolation=method) for f in window]
        )
    return to_video(window)


def _squares(path: Path, width: int, height: int, scale: float) -> np.ndarray:
    """(N, 3): centre x, y and side of the kept square per frame; the last row serves later frames."""
    track = path.with_name(f"{path.stem}.track.safetensors")
    boxes = load_file(track).get("boxes") if track.is_file() else None
    if boxes is None or not np.isfinite(boxes).all(axis=1).any():
        return np.array([[width / 2, height / 2, min(width, height)]])
    boxes = boxes.astype(np.float64)
    seen = np.isfinite(boxes).all(axis=1)
    at = np.arange(len(boxes))
    centres = [(boxes[seen, i] + boxes[seen, i + 2]) / 2 for i in (0, 1)]
    # One size per clip and a slow centre, as the crops of the product have.
    side = (
        np.median(np.maximum(boxes[seen, 2] - boxes[seen, 0], boxes[seen, 3] - boxes[seen, 1]))
        * scale
        * MARGIN
    )
    smooth = [_moving_mean(np.interp(at, at[seen], centre), 12) for centre in centres]
    return np.stack([*smooth, np.full(len(boxes), side)], axis=1)


def _moving_mean(values: np.ndarray, radius: int) -> np.ndarray:
    padded = np.pad(values, radius, mode="edge")
    return np.convolve(padded, np.full(2 * radius + 1, 1.0 / (2 * radius + 1)), mode="valid")


def _cut(image: np.ndarray, x: float, y: float, side: float, out: int) -> np.ndarray:
    whole = max(2, round(side))
    left, top = round(x - whole / 2), round(y - whole / 2)
    over = max(0, -left, -top, left + whole - image.shape[1], top + whole - image.shape[0])
    if over:
        image = cv2.copyMakeBorder(image, over, over, over, over, cv2.BORDER_REFLECT_101)
    square = np.ascontiguousarray(image[top + over : top + over + whole, left + over : left + over + whole])
    return cv2.resize(square, (out, out), interpolation=cv2.INTER_AREA if whole > out else cv2.INTER_LINEAR)
