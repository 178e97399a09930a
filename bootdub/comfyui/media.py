"""ComfyUI's values as files, and back: VIDEO, AUDIO and IMAGE, as its own nodes give and take them."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import soundfile
import torch

from common.errors import UserError
from common.media import LOSSLESS, VideoReader, write_video


class Audio(TypedDict):
    """ComfyUI's AUDIO: ``waveform`` (B, C, samples) float32 of -1 to 1, ``sample_rate`` in Hz."""

    waveform: torch.Tensor
    sample_rate: int


def audio_file(audio: Audio, folder: Path) -> Path:
    """The first recording of a batch, as a file with all its channels.

    Raises:
        UserError: there is no sample in it.
    """
    waveform = audio["waveform"][0]
    if not waveform.numel():
        raise UserError("The audio is empty: give a recording.")
    path = folder / "speech.wav"
    samples = waveform.detach().cpu().float().clamp(-1, 1).numpy().T
    soundfile.write(path, samples, int(audio["sample_rate"]), subtype="PCM_24")
    return path


def video_file(video: Any, folder: Path) -> Path:
    """The file of a VIDEO: its own where it is one and all of it is meant, else one that ComfyUI writes.

    Args:
        video: ``comfy_api``'s VideoInput.
        folder: for the file.
    """
    window = getattr(video, "get_active_trim_window", None)
    whole = window is None or not any(window())
    source = video.get_stream_source() if whole else None
    if isinstance(source, str):
        return Path(source)
    path = folder / "video.mp4"
    video.save_to(str(path))
    return path


def images_file(images: torch.Tensor, fps: float, folder: Path) -> Path:
    """A batch of pictures (B, H, W, 3) of 0 to 1 as a lossless video.

    Raises:
        UserError: a batch without pictures, or pictures without three colours.
    """
    if images.ndim != 4 or not len(images) or images.shape[-1] != 3:
        raise UserError(f"The images have the shape {tuple(images.shape)}: give a batch of RGB pictures.")
    path = folder / "images.mkv"
    write_video(path, _pictures(images), rate=Fraction(fps).limit_denominator(1001), encoding=LOSSLESS)
    return path


def read_images(path: Path) -> torch.Tensor:
    """All frames of a video as (B, H, W, 3) float32 of 0 to 1."""
    with VideoReader(path) as reader:
        images = torch.empty((reader.info.frame_count, reader.info.height, reader.info.width, 3))
        for frame in reader:
            images[frame.index] = torch.from_numpy(np.ascontiguousarray(frame.image)).float() / 255
    return images


def _pictures(images: torch.Tensor) -> Iterator[np.ndarray]:
    for image in images:
        yield (image.detach().cpu().float().clamp(0, 1) * 255).round().to(torch.uint8).numpy()
