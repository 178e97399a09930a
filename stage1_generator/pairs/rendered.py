"""Exact pairs of rendered characters: one scene with two speeches, so that only the lips differ.

Expected in the folder (what `common.rendered --pairs` writes): `<id>_a.mp4` and `<id>_b.mp4`, the
same scene with speech A and B, and `<id>_a.track.safetensors` with the landmarks. With a track of its own
`<id>_b.mp4` serves as a target, too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.data.clips import clip_key, clip_starts
from common.data.writer import safe_key
from common.errors import UserError
from common.face import build_detector, plan_crops, require_face, track_face
from common.files import fingerprint, sha256_file
from common.media import SAMPLE_RATE, frame_times, load_audio, read_frames, resample_indices
from stage1_generator.config import PrepareConfig, Stage1Config
from stage1_generator.footage.videos import TRACK_SUFFIX, find_videos


@dataclass(frozen=True)
class RenderedPairPlan:
    """Frames [start, start + length) (model rate) of a pair of videos."""

    key: str
    fingerprint: str
    speaker: str
    target: Path
    source: Path
    start: int
    length: int


@dataclass(frozen=True)
class RenderedPair:
    """Crops (N, S, S, 3) of one clip, landmarks (N, 68, 3) and the whole sounds of both videos."""

    target: NDArray[np.uint8]
    source: NDArray[np.uint8]
    landmarks: NDArray[np.float32]
    audio: NDArray[np.float32]
    source_audio: NDArray[np.float32]


def find_rendered_pairs(config: Stage1Config) -> list[RenderedPairPlan]:
    """All clips of all pairs in `pack.rendered_pairs`, in key order.

    Raises:
        UserError: the folder holds no pair.
    """
    folder = config.pack.rendered_pairs
    if not Path(folder).is_dir():
        raise UserError(
            f"pack.rendered_pairs is '{folder}', which is no folder: name one, or leave it empty."
        )
    videos = {video.path: video for video in find_videos(PrepareConfig(videos=folder))}
    clips = []
    for path, video in videos.items():
        other = _partner(path)
        if other not in videos or video.track is None:
            continue
        made_by = fingerprint([sha256_file(file) for file in (path, other, video.track)])
        frames = len(resample_indices(frame_times(path), config.geometry.fps))
        for start in clip_starts(frames, config.pairs.clip_frames, config.pairs.stride):
            key = clip_key(safe_key(f"{path.stem}-{made_by[:8]}"), start)
            clips.append(
                RenderedPairPlan(key, made_by, video.speaker, path, other, start, config.pairs.clip_frames)
            )
    if not clips:
        raise UserError(
            f"'{folder}' holds no pair of <id>_a.mp4, <id>_b.mp4 and <id>_a{TRACK_SUFFIX} with "
            f"{config.pairs.clip_frames} frames or more: run `python -m common.rendered --pairs`."
        )
    return sorted(clips, key=lambda clip: clip.key)


def _partner(path: Path) -> Path:
    swapped = {"_a": "_b", "_b": "_a"}.get(path.stem[-2:])
    return path.with_name(path.stem[:-2] + swapped + path.suffix) if swapped else path.with_name("")


def load_rendered_pair(clip: RenderedPairPlan, config: Stage1Config) -> RenderedPair:
    """Crop both videos with the squares that the target's track gives.

    Raises:
        UserError: the two videos are not of one scene (different size or length), or show no face.
    """
    whole = _load(
        clip.target, clip.source, config.geometry.fps, config.geometry.crop_size, config.geometry.crop_scale
    )
    span = slice(clip.start, clip.start + clip.length)
    return replace(
        whole, target=whole.target[span], source=whole.source[span], landmarks=whole.landmarks[span]
    )


@lru_cache(maxsize=2)
def _load(target: Path, source: Path, fps: float, size: int, scale: float) -> RenderedPair:
    videos = [read_frames(path) for path in (target, source)]
    if videos[0].shape != videos[1].shape:
        raise UserError(f"'{target}' and '{source}' differ in size or length: render the pair again.")
    track_file = target.with_name(target.stem + TRACK_SUFFIX)
    track = require_face(track_face(videos[0], build_detector("box", track_file=str(track_file))), target)
    if not track.present.all():
        raise UserError(f"The track '{track_file}' has frames without a face: render the pair again.")
    crops = plan_crops(track, scale=scale, fps=fps)
    shown = resample_indices(frame_times(target), fps)
    ours, theirs = (np.stack([crops.extract(video[i], i, size) for i in shown]) for video in videos)
    landmarks = np.stack([crops.landmarks(track.landmarks[i], i, size) for i in shown])
    sounds = [load_audio(path, SAMPLE_RATE) for path in (target, source)]
    return RenderedPair(ours, theirs, landmarks, *sounds)
