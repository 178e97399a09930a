"""Clips whose language changes in the middle, made by the model or cut from recordings, in the work folder.

clips/<id>/clip.mkv (FFV1), sound.flac (16 kHz), landmarks.safetensors, meta.json
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from scipy.signal import resample_poly

from common.errors import UserError
from common.face import build_detector, track_face
from common.face.config import FaceConfig
from common.face.crop_rules import crops_by_rule
from common.files import atomic_dir, write_json
from common.geometry import latents_to_frames
from common.media import (
    LOSSLESS,
    SAMPLE_RATE,
    VideoReader,
    frame_times,
    load_audio,
    probe,
    read_frames,
    resample_indices,
    save_flac,
    write_video,
)
from common.models.ltx2.codecs import JointVocoder
from common.models.ltx2.settings import FRAME_STRIDE
from common.models.ltx2.vocoding import vocoded
from common.models.package_info import PackageInfo
from stage1_generator.language_switch.tables import SwitchRecording

CLIP, SOUND, LANDMARKS, META = "clip.mkv", "sound.flac", "landmarks.safetensors", "meta.json"


@dataclass(frozen=True)
class SwitchClip:
    """A clip of N frames.

    Attributes:
        frames: (N, S, S, 3) uint8.
        sound: (samples,) float32, mono at 16 kHz.
        landmarks: (N, 68, 3), crop pixels.
    """

    frames: NDArray[np.uint8]
    sound: NDArray[np.float32]
    landmarks: NDArray[np.float32]

    def save(self, folder: Path, meta: dict[str, Any], fps: float) -> None:
        """Whole or not at all."""
        with atomic_dir(folder) as temporary:
            write_video(temporary / CLIP, self.frames, rate=fps, encoding=LOSSLESS)
            save_flac(temporary / SOUND, self.sound)
            save_file({"landmarks": self.landmarks}, temporary / LANDMARKS)
            write_json(temporary / META, meta)

    @classmethod
    def load(cls, folder: Path) -> SwitchClip:
        """What :meth:`save` wrote."""
        landmarks = load_file(folder / LANDMARKS)["landmarks"]
        return cls(read_frames(folder / CLIP), load_audio(folder / SOUND), landmarks)

    def samples(self, span: slice, fps: float) -> NDArray[np.float32]:
        """Its sound while the frames ``span`` are shown."""
        first, last = (round(at / fps * SAMPLE_RATE) for at in (span.start, span.stop))
        found = self.sound[first:last]
        return np.pad(found, (0, last - first - len(found)))


def halves(frames: int) -> tuple[slice, slice]:
    """The two halves of a clip of 8k + 1 frames, of 8j + 1 frames each, at its ends.

    Raises:
        UserError: a half would have one frame.
    """
    count = latents_to_frames((frames // 2 - 1) // FRAME_STRIDE + 1, FRAME_STRIDE)
    if frames < 2 * (FRAME_STRIDE + 1):
        raise UserError(
            f"A clip of {frames} frames has no halves of {FRAME_STRIDE + 1} frames or more; use a package "
            "with longer clips."
        )
    return slice(0, count), slice(frames - count, frames)


def landmarks_of(frames: NDArray[np.uint8], face: FaceConfig) -> NDArray[np.float32] | None:
    """(N, 68, 3) of the face in a clip (N, S, S, 3); None where a frame shows none."""
    track = track_face(frames, build_detector(face.detector, **face.options))
    return np.asarray(track.landmarks, np.float32) if track.present.all() else None


def sound_of(mel: torch.Tensor, vocoder: JointVocoder) -> NDArray[np.float32]:
    """(samples,) mono at 16 kHz of a spectrogram (2, T, 64)."""
    sound = np.concatenate(list(vocoded([mel], vocoder)), axis=1).mean(axis=0)
    shared = gcd(SAMPLE_RATE, vocoder.rate)
    resampled = resample_poly(sound, SAMPLE_RATE // shared, vocoder.rate // shared)
    return np.clip(resampled, -1, 1).astype(np.float32)


def recorded_span(recording: SwitchRecording, info: PackageInfo) -> NDArray[np.int64]:
    """(N,) the frames of a recording that are shown, with the change of language in their middle.

    Raises:
        UserError: the recording is too short on one side.
    """
    geometry = info.geometry
    shown = resample_indices(frame_times(recording.video), geometry.fps)
    first = round(recording.switch * geometry.fps) - geometry.clip_frames // 2
    if first < 0 or first + geometry.clip_frames > len(shown):
        half = geometry.clip_frames / 2 / geometry.fps
        raise UserError(
            f"The recording '{recording.video}' has less than {half:.2f} s on one side of the change at "
            f"{recording.switch:g} s: give another place, or a package with shorter clips."
        )
    return np.asarray(shown[first : first + geometry.clip_frames])


def load_recorded(recording: SwitchRecording, info: PackageInfo, face: FaceConfig) -> SwitchClip | None:
    """The crops of a recording around its change of language; None where a frame shows no face.

    Memory holds the frames of the clip alone.

    Raises:
        UserError: the recording is too short, or cannot be read.
    """
    geometry, shown = info.geometry, recorded_span(recording, info)
    first, stop = int(shown[0]), int(shown[-1]) + 1
    if recording.track is not None:
        # It has a row for each frame of the video from the first on.
        detector, begin = build_detector("box", track_file=str(recording.track)), 0
    else:
        detector, begin = build_detector(face.detector, **face.options), first
    track = track_face(_images(recording.video, begin, stop), detector)[first - begin :]
    if not track.present.all():
        return None
    shape = probe(recording.video)
    picture = (shape.width, shape.height)
    crops = crops_by_rule(info.conventions.crops, track, picture, geometry.crop_scale, geometry.fps)
    frames, landmarks, size = [], [], geometry.crop_size
    wanted = Counter((shown - first).tolist())
    for at, image in enumerate(_images(recording.video, first, stop)):
        for _ in range(wanted[at]):
            frames.append(crops.extract(image, at, size))
            landmarks.append(crops.landmarks(track.landmarks[at], at, size))
    clock = recording.switch - geometry.clip_frames // 2 / geometry.fps
    start = max(0, round(clock * SAMPLE_RATE))
    sound = load_audio(recording.video, SAMPLE_RATE)[start:]
    sound = sound[: round(geometry.clip_frames / geometry.fps * SAMPLE_RATE)]
    return SwitchClip(np.stack(frames), sound, np.stack(landmarks).astype(np.float32))


def _images(video: Path, first: int, stop: int) -> Iterator[NDArray[np.uint8]]:
    with VideoReader(video) as reader:
        for frame in islice(reader.frames(first), stop - first):
            yield frame.image
