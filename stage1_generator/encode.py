"""`python -m stage1_generator.encode`: prepared faces -> shards of training clips for the generator.

Every sample holds the clip, its sound, its masks, and what the frozen encoders make of them: latents of the
clip, of the clip with its lower face hidden, and of still reference frames from elsewhere in the video.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from common.autoencoder.codec import VideoCodec
from common.autoencoder.pixels import to_video
from common.data.clips import TrainingClip, training_clips
from common.data.prepared import LoadedClips, PreparedClip, load_prepared
from common.data.schema import encode_sample
from common.data.writer import ShardWriter
from common.files import fingerprint, remove_partial
from common.media import SAMPLE_RATE
from common.parallel import run_ahead
from common.progress import StepProgress
from common.speech.prepared import PreparedSpeech
from common.speech.windows import clip_features, feature_margin
from stage1_generator.companions.masks import GRAY, ClipMasks, clip_masks, hide
from stage1_generator.companions.plan import clip_seed
from stage1_generator.config import Stage1Config
from stage1_generator.generator.frozen import load_codec
from stage1_generator.work.command import run_command
from stage1_generator.work.paths import work_paths

_VERSION = 1


def main(argv: list[str] | None = None) -> int:
    return run_command("encode", __doc__ or "", run, dry_run, argv)


def dry_run(config: Stage1Config) -> None:
    entries = load_prepared(work_paths(config).prepared)
    clips = _clips(entries, config)
    shards = -(-len(clips) // config.encode.samples_per_shard)
    print(f"encode: {len(entries)} entries -> {len(clips)} clips of {config.geometry.clip_frames} frames")
    print(f"encode: {config.references.count} references each, {shards} shards")
    print(f"encode: into {work_paths(config).encoded}")


def run(config: Stage1Config) -> None:
    paths = work_paths(config)
    remove_partial(paths.encoded)
    clips = _clips(load_prepared(paths.prepared), config)
    codec, speech = load_codec(config), PreparedSpeech(config.work, config.speech)
    meta = {
        "step": "encode",
        "vae": codec.fingerprint,
        "speech": speech.fingerprint,
        "config": encoding_mark(config),
    }
    keys = [clip.key for clip in clips]
    with ShardWriter(paths.encoded, "clips", config.encode.samples_per_shard, meta) as writer:
        todo = clips[writer.resume(keys) :]
        progress = StepProgress("encode", len(todo))
        loader = _Loader(config)
        for loaded in run_ahead(loader.load, todo):
            writer.add(loaded.clip.key, _encode(loaded, codec, speech, config, meta))
            progress.step(config.geometry.clip_frames)
    progress.finish(paths.root)
    print(f"encode: {len(clips)} clips -> {paths.encoded}", file=sys.stderr)


def _clips(entries: Sequence[PreparedClip], config: Stage1Config) -> list[TrainingClip]:
    return training_clips(entries, config.geometry.clip_frames, config.encode.stride)


def encoding_mark(config: Stage1Config) -> str:
    """Whatever decides the bytes besides the entries (their ids tell their content) and the encoders."""
    encode = config.encode
    parts = [encode.stride, encode.cut_occluders, config.masks.occluder_grow, config.seed]
    return fingerprint([_VERSION, config.geometry, config.references, config.speech.extra_window, parts])


@dataclass(frozen=True)
class _Loaded:
    """What is read and drawn ahead of the networks."""

    clip: TrainingClip
    frames: NDArray[np.uint8]
    masks: ClipMasks
    landmarks: NDArray[np.float32]
    references: NDArray[np.uint8]
    reference_indices: NDArray[np.int64]
    audio: NDArray[np.float32]


def reference_frames(total: int, start: int, length: int, count: int, seed: int) -> NDArray[np.int64]:
    """Frames of an entry that serve as references of the clip [start, start + length).

    From outside the clip (P: another segment): what there is is cut into `count` parts, one frame is drawn
    from each. Where less than `count` frames lie outside, all of them and frames spread over the clip (G).
    """
    frames = np.arange(total)
    outside = frames[(frames < start) | (frames >= start + length)]
    if len(outside) >= count:
        random = np.random.default_rng(seed)
        return np.array([random.choice(part) for part in np.array_split(outside, count)], np.int64)
    inside = np.linspace(start, start + length - 1, count - len(outside)).round().astype(np.int64)
    return np.sort(np.concatenate([outside, inside]))


def reference_stills(
    frames: NDArray[np.uint8], landmarks: NDArray[np.float32], background: str
) -> NDArray[np.uint8]:
    """Reference frames (M, S, S, 3), with everything but the face gray where `background` is "zero"."""
    if background == "keep":
        return frames
    face = clip_masks(landmarks, frames.shape[1]).face
    return np.where(face[..., None], frames, np.uint8(GRAY))


def encode_stills(codec: VideoCodec, stills: NDArray[np.uint8]) -> torch.Tensor:
    """(M, S, S, 3) uint8 -> (M, C, 1, h, w): each still is a video of one frame."""
    return codec.encode(to_video(stills[:, None]))


class _Loader:
    """Reads entries one at a time: clips come in entry order, and an entry is decoded once."""

    def __init__(self, config: Stage1Config) -> None:
        self._config = config
        self._entries = LoadedClips()

    def load(self, clip: TrainingClip) -> _Loaded:
        config = self._config
        opened = self._entries.get(clip.entry)
        crops, track, audio = opened.crops, opened.track, opened.audio
        length, size = config.geometry.clip_frames, config.geometry.crop_size
        span = slice(clip.start, clip.start + length)
        occluder = track.occluder if config.encode.cut_occluders else None
        occluder = None if occluder is None else occluder[span]
        masks = clip_masks(track.landmarks[span], size, occluder, config.masks.occluder_grow)
        seed = clip_seed(config.seed, clip.key, "references")
        chosen = reference_frames(len(crops), clip.start, length, config.references.count, seed)
        stills = reference_stills(crops[chosen], track.landmarks[chosen], config.references.background)
        rate = SAMPLE_RATE / config.geometry.fps
        samples = slice(round(span.start * rate), round(span.stop * rate))
        return _Loaded(clip, crops[span], masks, track.landmarks[span], stills, chosen, audio[samples])


def _encode(
    loaded: _Loaded,
    codec: VideoCodec,
    speech: PreparedSpeech,
    config: Stage1Config,
    made_by: Mapping[str, Any],
) -> dict[str, bytes]:
    clip, geometry = loaded.clip, config.geometry
    masked = hide(loaded.frames, loaded.masks.inpaint)
    latents = codec.encode(to_video(np.stack([loaded.frames, masked])))
    margin = feature_margin(config.speech.extra_window)
    cache = {
        "target_latents": latents[0].to(torch.bfloat16),
        "masked_latents": latents[1].to(torch.bfloat16),
        "reference_latents": encode_stills(codec, loaded.references).to(torch.bfloat16),
        "reference_source": torch.from_numpy(loaded.reference_indices),
        "audio_features": clip_features(
            speech.features(clip.entry), clip.start, geometry.clip_frames, margin
        ),
    }
    meta = {
        "kind": "clip",
        "frames": geometry.clip_frames,
        "fps": geometry.fps,
        "crop_size": geometry.crop_size,
        "entry": clip.entry.id,
        "start": clip.start,
        "speaker": clip.entry.speaker,
        "video": clip.entry.meta["video"],
    }
    return encode_sample(
        meta,
        target=loaded.frames,
        audio=loaded.audio,
        arrays={"landmarks": loaded.landmarks, **loaded.masks.pooled(codec.stride[1])},
        cache=cache,
        cache_fingerprint=fingerprint(made_by),
    )


if __name__ == "__main__":
    sys.exit(main())
