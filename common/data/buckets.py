"""Batches of one length and one size: samples are sorted into buckets, each step draws from one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from common.data.dataset import ShardDataset
from common.data.order_protocol import Order
from common.data.shapes import Shape
from common.errors import UserError

Numbers = npt.NDArray[np.int64]
Part = Sequence[Numbers]
"""Shards of one part of the data set, as arrays of sample numbers."""

# 2^64 over the golden ratio: multiples of it, modulo 2^64, fall evenly into any set of intervals.
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_CHUNK = 1 << 20


@dataclass(frozen=True)
class BucketParts:
    """The samples of one bucket: its shards (with only these samples) and weights per part.

    ``share`` is the bucket's share of the steps; ``weights`` is empty where the parts have none.
    """

    bucket: Shape
    parts: list[list[Numbers]]
    weights: list[float]
    share: float


def bucket_of(shape: Shape, lengths: Sequence[int]) -> Shape | None:
    """The longest of ``lengths`` that a sample fills, with its size; None where it is shorter than all."""
    filled = [length for length in lengths if length <= shape[0]]
    return (max(filled), *shape[1:]) if filled else None


def assign_buckets(dataset: ShardDataset, lengths: Sequence[int]) -> list[Shape]:
    """The bucket of every sample.

    Raises:
        UserError: a sample is shorter than all ``lengths``, or its size cannot be found.
    """
    buckets: list[Shape] = []
    for number in range(len(dataset)):
        shape = dataset.shape(number)
        bucket = bucket_of(shape, lengths)
        if bucket is None:
            raise UserError(
                f"The sample {dataset.keys[number]} has {shape[0]} frames, fewer than the shortest of "
                f"data.buckets ({min(lengths)}): add a shorter bucket or make the shards again."
            )
        buckets.append(bucket)
    return buckets


def bucket_parts(
    parts: Sequence[Part], buckets: Sequence[Shape], weights: Sequence[float] = ()
) -> list[BucketParts]:
    """Sort the samples of all shards by bucket, smallest bucket first; buckets of weight zero are left out.

    Within a bucket every part keeps its weight: the samples of a part are drawn equally often, whatever
    their bucket.
    """
    members = np.array(buckets)
    sizes = [sum(len(shard) for shard in part) for part in parts]
    # How often a sample of each part is drawn, up to a common factor.
    each = (
        [weight / size for weight, size in zip(weights, sizes, strict=True)]
        if weights
        else [1.0] * len(parts)
    )
    found = []
    for bucket in sorted(set(buckets)):
        inside = [[shard[(members[shard] == bucket).all(axis=1)] for shard in part] for part in parts]
        kept = [[shard for shard in part if len(shard)] for part in inside]
        counts = [sum(len(shard) for shard in part) for part in kept]
        own = [rate * count for rate, count in zip(each, counts, strict=True)]
        if sum(own) <= 0:
            continue
        used = [part for part, weight in zip(kept, own, strict=True) if weight > 0]
        found.append(BucketParts(bucket, used, [w for w in own if w > 0] if weights else [], sum(own)))
    total = sum(bucket.share for bucket in found)
    return [BucketParts(b.bucket, b.parts, b.weights, b.share / total) for b in found]


class BucketOrder:
    """Every global batch comes from one bucket, so that all processes have equally much to do.

    Step s belongs to the bucket into whose share of [0, 1) the number u + s * phi (modulo 1) falls, phi =
    0.618...: of any stretch of steps every bucket gets its share up to a few steps, and step s is found
    without the steps before it. Within a bucket the batches come from its own order, one after another.

    Args:
        orders: of the buckets.
        lengths: frames used of the samples of each bucket.
        shares: of the buckets among the steps, adding up to 1.
        seed: decides u.
    """

    def __init__(
        self, orders: Sequence[Order], lengths: Sequence[int], shares: Sequence[float], seed: int
    ) -> None:
        self._orders, self._lengths = list(orders), list(lengths)
        limits = [min(int(edge * 2.0**64), 2**64 - 1) for edge in np.cumsum(shares)[:-1]]
        self._limits = np.array(limits, np.uint64)
        self._first = np.random.SeedSequence([seed, 4]).generate_state(1, np.uint64)
        self._counted, self._visits = 0, np.zeros(len(self._orders), np.int64)

    def bucket(self, step: int) -> int:
        """Which bucket the step draws from."""
        return int(self._buckets(step, step + 1)[0])

    def global_batch(self, step: int) -> list[int]:
        bucket = self.bucket(step)
        self._count(step)
        return self._orders[bucket].global_batch(int(self._visits[bucket]))

    def clip_frames(self, step: int) -> int:
        return self._lengths[self.bucket(step)]

    def _buckets(self, begin: int, end: int) -> npt.NDArray[np.int64]:
        points = self._first + np.arange(begin, end, dtype=np.uint64) * _GOLDEN  # modulo 2^64
        return np.searchsorted(self._limits, points, side="right")

    def _count(self, step: int) -> None:
        """Count how often each bucket was drawn before ``step``, from where the last call left off."""
        if step < self._counted:
            self._counted, self._visits = 0, np.zeros_like(self._visits)
        for begin in range(self._counted, step, _CHUNK):
            seen = self._buckets(begin, min(begin + _CHUNK, step))
            self._visits += np.bincount(seen, minlength=len(self._orders))
        self._counted = step
