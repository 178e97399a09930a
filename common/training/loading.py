"""From shards to micro-batches: cached samples are stacked, uncached ones are encoded on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from common.data.batch import DubBatch, collate
from common.data.dataset import ShardDataset
from common.data.schema import CACHE, POOLED_MASKS, SOURCE, Sample, decode_sample, encode_sample
from common.errors import UserError
from common.geometry import TEMPORAL_STRIDE, frames_to_latents, latents_to_frames
from common.models.pixels import to_video
from common.models.vae import VideoCodec
from common.speech import SpeechEncoder, clip_features, feature_margin
from common.training.draws import Draw


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
    """Collate function: stacks clips of ``clip_frames`` frames. Runs in the loader's workers.

    A longer clip with cached latents is used from its beginning: the causal autoencoder makes the first
    latents of a clip the same whatever follows, but a window from its middle would have other ones.
    """

    clip_frames: int
    extra_window: int

    def __call__(self, items: Sequence[tuple[Draw, Sample]]) -> MicroBatch:
        draws, samples = tuple(draw for draw, _ in items), tuple(sample for _, sample in items)
        for sample in samples:
            if int(sample.meta["frames"]) < self.clip_frames:
                raise UserError(
                    f"The sample {sample.key} has {sample.meta['frames']} frames, fewer than "
                    f"geometry.clip_frames ({self.clip_frames}): make the shards again or set it lower."
                )
        if all(sample.has(CACHE) for sample in samples):
            latents = frames_to_latents(self.clip_frames)
            return MicroBatch(draws, _first_latents(collate(samples, self.extra_window), latents))
        for sample in samples:
            # Decoded here and not in the training process; the sample keeps what was decoded.
            _ = sample.target, sample.arrays, sample.audio
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

    def batch(self, micro: MicroBatch) -> DubBatch:
        """Random windows of ``clip_frames`` frames, encoded and stacked."""
        encoded = [self._encode(d, sample) for d, sample in zip(micro.draws, micro.samples, strict=True)]
        return collate(encoded, self.extra_window)

    def _encode(self, draw: Draw, sample: Sample) -> Sample:
        if not sample.has(SOURCE):
            raise UserError(f"The sample {sample.key} has neither cached latents nor a source video.")
        whole = int(sample.meta["frames"])
        # Starts are multiples of the temporal stride, so that the stored masks' groups of 4 stay valid.
        choices = (whole - self.clip_frames) // TEMPORAL_STRIDE + 1
        generator = draw.generator(self.seed, "window")
        first = int(torch.randint(choices, (1,), generator=generator))
        start, latents = first * TEMPORAL_STRIDE, frames_to_latents(self.clip_frames)
        span = slice(start, start + self.clip_frames)
        features = self.speech.encode(sample.audio)
        margin = feature_margin(self.extra_window)
        cache = {
            "target_latents": self._latents(sample.target[span]),
            "source_latents": self._latents(sample.source[span]),
            "audio_features": clip_features(features, start, self.clip_frames, margin),
        }
        arrays = {
            name: value[first : first + latents]
            for name, value in sample.arrays.items()
            if name in POOLED_MASKS
        }
        if "landmarks" in sample.arrays:
            arrays["landmarks"] = sample.arrays["landmarks"][span]
        meta = {**sample.meta, "frames": self.clip_frames}
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


def _first_latents(batch: DubBatch, latents: int) -> DubBatch:
    """The first ``latents`` latent frames of everything that runs along the clip."""
    whole = batch.target_latents.shape[2]
    if whole == latents:
        return batch
    cut: dict[str, Any] = {}
    for field in fields(batch):
        value = getattr(batch, field.name)
        if not isinstance(value, Tensor):
            continue
        axis = 2 if value.ndim == 5 else 1
        if value.shape[axis] == whole:
            cut[field.name] = value.narrow(axis, 0, latents)
    if batch.landmarks is not None:  # runs along the pixel frames
        cut["landmarks"] = batch.landmarks[:, : latents_to_frames(latents)]
    return replace(batch, **cut)
