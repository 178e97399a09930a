"""Pairs without cached latents, encoded while training."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from common.autoencoder.codec import VideoCodec
from common.autoencoder.pixels import to_video
from common.data.augment import augment_pair
from common.data.batch import DubBatch, collate
from common.data.config import AugmentConfig
from common.data.schema import CACHE, POOLED_MASKS, SOURCE, Sample, decode_sample, encode_sample
from common.errors import UserError
from common.geometry import TEMPORAL_STRIDE, frames_to_latents
from common.speech.base import SpeechEncoder
from common.speech.windows import clip_features, feature_margin
from common.training.draws import Draw
from common.training.loading import MicroBatch
from common.training.speech_transform import SpeechTransform


@dataclass
class ClipEncoder:
    """Encodes the samples of a micro-batch that have no cache."""

    codec: VideoCodec
    speech: SpeechEncoder
    clip_frames: int
    extra_window: int
    seed: int
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    speech_transform: SpeechTransform | None = None

    def batch(self, micro: MicroBatch) -> DubBatch:
        """Random windows, augmented and encoded, stacked with the samples that have a cache."""
        frames = micro.draws[0].frames or self.clip_frames
        ready = [
            sample if sample.has(CACHE) else self._encode(draw, sample, frames)
            for draw, sample in zip(micro.draws, micro.samples, strict=True)
        ]
        speech = None if self.speech_transform is None else partial(self.speech_transform, micro.draws, ready)
        return collate(ready, self.extra_window, frames=frames, speech=speech)

    def _encode(self, draw: Draw, sample: Sample, frames: int) -> Sample:
        if not sample.has(SOURCE):
            raise UserError(f"The sample {sample.key} has neither cached latents nor a source video.")
        whole = int(sample.meta["frames"])
        if whole < frames:
            raise UserError(
                f"The sample {sample.key} has {whole} frames, fewer than the {frames} of this batch: make "
                "the shards again, or set geometry.clip_frames or data.buckets lower."
            )
        # Starts are multiples of the temporal stride, so that the stored masks' groups of 4 stay valid.
        choices = (whole - frames) // TEMPORAL_STRIDE + 1
        generator = draw.generator(self.seed, "window")
        first = int(torch.randint(choices, (1,), generator=generator))
        start, latents = first * TEMPORAL_STRIDE, frames_to_latents(frames)
        span = slice(start, start + frames)
        features = self.speech.encode(sample.audio)
        margin = feature_margin(self.extra_window)
        arrays = {
            name: value[first : first + latents]
            for name, value in sample.arrays.items()
            if name in POOLED_MASKS
        }
        pair = augment_pair(
            sample.target[span], sample.source[span], draw.generator(self.seed, "augment"), self.augment
        )
        cache = {
            "target_latents": self._latents(pair.target),
            "source_latents": self._latents(pair.source),
            "audio_features": clip_features(features, start, frames, margin),
        }
        if "landmarks" in sample.arrays:
            arrays["landmarks"] = sample.arrays["landmarks"][span]
        arrays = pair.arrays(arrays)
        meta = {**sample.meta, "frames": frames}
        return decode_sample(sample.key, encode_sample(meta, arrays=arrays, cache=cache))

    def _latents(self, frames: Any) -> Tensor:
        return self.codec.encode(to_video(frames[None]))[0]
