"""Pairs without cached latents, encoded while training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from common.autoencoder.codec import VideoCodec
from common.autoencoder.pixels import to_video
from common.data.augment import augment_pair
from common.data.batch import DubBatch, collate
from common.data.config import AugmentConfig, DegradedLipsConfig
from common.data.degraded_lips import draw_degraded_lips
from common.data.schema import (
    CACHE,
    LIP_SHAPES,
    POOLED,
    SOURCE,
    Frames,
    Sample,
    decode_sample,
    encode_sample,
)
from common.errors import UserError
from common.geometry import TEMPORAL_STRIDE, frames_to_latents
from common.speech.base import SpeechEncoder
from common.speech.windows import clip_features, feature_margin
from common.training.draws import Draw
from common.training.loading import MicroBatch
from common.training.speech_transform import SpeechTransform


@dataclass
class ClipEncoder:
    """Encodes the samples of a micro-batch that have no cache.

    With ``degraded_lips`` the source is made of the target, and nothing is heard.
    """

    codec: VideoCodec
    speech: SpeechEncoder
    clip_frames: int
    extra_window: int
    seed: int
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    speech_transform: SpeechTransform | None = None
    degraded_lips: DegradedLipsConfig = field(default_factory=DegradedLipsConfig)

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
        refines = self.degraded_lips.active
        if not (refines or sample.has(SOURCE)):
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
        features = self._silence() if refines else self.speech.encode(sample.audio)
        margin = feature_margin(self.extra_window)
        arrays = {
            name: value[first : first + latents] for name, value in sample.arrays.items() if name in POOLED
        }
        shown = sample.target if refines else sample.source
        pair = augment_pair(
            sample.target[span], shown[span], draw.generator(self.seed, "augment"), self.augment
        )
        arrays |= {n: sample.arrays[n][span] for n in ("landmarks", LIP_SHAPES) if n in sample.arrays}
        arrays = pair.arrays(arrays)
        source = pair.source
        if refines:
            source = self._degraded(sample.key, source, arrays, draw)
        cache = {
            "target_latents": self._latents(pair.target),
            "source_latents": self._latents(source),
            "audio_features": clip_features(features, start, frames, margin),
        }
        meta = {**sample.meta, "frames": frames}
        return decode_sample(sample.key, encode_sample(meta, arrays=arrays, cache=cache))

    def _silence(self) -> npt.NDArray[np.float32]:
        """What guidance without speech hears."""
        return np.zeros((1, self.speech.channels), np.float32)

    def _degraded(self, key: str, frames: Frames, arrays: Mapping[str, Tensor], draw: Draw) -> Frames:
        if "landmarks" not in arrays:
            raise UserError(
                f"The sample {key} has no landmarks, which data.degraded_lips needs: make the shards again."
            )
        landmarks = arrays["landmarks"].numpy()
        generator = draw.generator(self.seed, "degraded lips")
        return draw_degraded_lips(frames, landmarks, generator, self.degraded_lips)

    def _latents(self, frames: Any) -> Tensor:
        return self.codec.encode(to_video(frames[None]))[0]
