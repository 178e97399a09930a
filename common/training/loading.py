"""From shards to micro-batches: cached samples are stacked, uncached ones are encoded on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from common.autoencoder.codec import VideoCodec
from common.autoencoder.pixels import to_video
from common.config import AugmentConfig
from common.data.augment import augment_pair
from common.data.batch import DubBatch, collate
from common.data.dataset import ShardDataset
from common.data.schema import CACHE, POOLED_MASKS, SOURCE, Sample, decode_sample, encode_sample
from common.errors import UserError
from common.geometry import TEMPORAL_STRIDE, frames_to_latents
from common.speech import SpeechEncoder, clip_features, feature_margin
from common.training.draws import Draw
from common.training.hearing import Hearing


@dataclass(frozen=True)
class MicroBatch:
    """What a loader worker hands over: ``batch`` where everything was cached, else the samples to encode."""

    draws: tuple[Draw, ...]
    batch: DubBatch | None
    samples: tuple[Sample, ...] = ()

    def __len__(self) -> int:
        return len(self.draws)


class DrawnSamples(Dataset[tuple[Draw, Sample]]):
    """A shard dataset indexed by draws."""

    def __init__(self, dataset: ShardDataset) -> None:
        self._dataset = dataset

    def __getitem__(self, draw: Draw) -> tuple[Draw, Sample]:
        return draw, self._dataset.sample(draw.number)


@dataclass(frozen=True)
class Assemble:
    """Collate function: stacks clips of ``clip_frames`` frames, or of the draws' own number.

    Runs in the loader's workers. ``hearing``: random changes of cached speech features.
    """

    clip_frames: int
    extra_window: int
    hearing: Hearing | None = None

    def __call__(self, items: Sequence[tuple[Draw, Sample]]) -> MicroBatch:
        draws, samples = tuple(draw for draw, _ in items), tuple(sample for _, sample in items)
        frames = draws[0].frames or self.clip_frames
        if all(sample.has(CACHE) for sample in samples):
            speech = None if self.hearing is None else partial(self.hearing, draws, samples)
            return MicroBatch(draws, collate(samples, self.extra_window, frames=frames, speech=speech))
        for sample in samples:
            # Read here and not in the training process; the sample keeps what was decoded.
            _ = sample.meta, sample.arrays
            if sample.has(CACHE):
                _ = sample.cache
                continue
            _ = sample.target, sample.audio
            if sample.has(SOURCE):
                _ = sample.source
        return MicroBatch(draws, None, samples)


@dataclass
class ClipEncoder:
    """Encodes samples without a cache, at training time. Stage 2 only: stage 1 needs its encode step."""

    codec: VideoCodec
    speech: SpeechEncoder
    clip_frames: int
    extra_window: int
    seed: int
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    hearing: Hearing | None = None

    def batch(self, micro: MicroBatch) -> DubBatch:
        """Random windows, augmented and encoded, stacked with the samples that have a cache."""
        frames = micro.draws[0].frames or self.clip_frames
        ready = [
            sample if sample.has(CACHE) else self._encode(draw, sample, frames)
            for draw, sample in zip(micro.draws, micro.samples, strict=True)
        ]
        speech = None if self.hearing is None else partial(self.hearing, micro.draws, ready)
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


def check_encoders(dataset: ShardDataset, vae: str, speech: str) -> None:
    """Refuse caches of another autoencoder or speech encoder.

    Raises:
        UserError: an index names fingerprints that differ from ``vae`` and ``speech``.
    """
    for index in dataset.indices:
        for what, wanted in (("vae", vae), ("speech", speech)):
            found = index.meta.get(what)
            if found is not None and found != wanted:
                raise UserError(
                    f"The shards in '{index.folder}' were encoded with another {what} ({found}, here "
                    f"{wanted}): encode them again or set {what}.path to what made them."
                )
