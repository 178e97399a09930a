"""From shards to micro-batches: cached samples are stacked, uncached ones are encoded on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from torch.utils.data import Dataset

from common.data.batch import DubBatch, collate
from common.data.dataset import ShardDataset
from common.data.schema import CACHE, SOURCE, Sample
from common.errors import UserError
from common.training.draws import Draw
from common.training.speech_transform import SpeechTransform


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

    Runs in the loader's workers. ``speech_transform``: random changes of cached speech features.
    """

    clip_frames: int
    extra_window: int
    speech_transform: SpeechTransform | None = None

    def __call__(self, items: Sequence[tuple[Draw, Sample]]) -> MicroBatch:
        draws, samples = tuple(draw for draw, _ in items), tuple(sample for _, sample in items)
        frames = draws[0].frames or self.clip_frames
        if all(sample.has(CACHE) for sample in samples):
            speech = None if self.speech_transform is None else partial(self.speech_transform, draws, samples)
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


class SampleEncoder(Protocol):
    """Encodes samples without a cache, at training time."""

    def batch(self, micro: MicroBatch) -> DubBatch:
        """The samples of a micro-batch, stacked."""
        ...


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
