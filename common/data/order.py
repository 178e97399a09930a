"""Which samples make up which global batch, chosen by ``data.order`` and ``data.buckets``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from common.data.balance import by_speaker
from common.data.buckets import BucketOrder, Part, assign_buckets, bucket_parts
from common.data.config import DataConfig
from common.data.dataset import ShardDataset
from common.data.order_protocol import Order
from common.data.shuffle import ShuffledOrder
from common.data.stream import StreamOrder
from common.errors import UserError

Numbers = npt.NDArray[np.int64]


def build_order(dataset: ShardDataset, data: DataConfig, batch_size: int, seed: int) -> Order:
    """The order that the ``data`` section asks for.

    Raises:
        UserError: a sample is shorter than all buckets, or there are too few samples to stream.
    """
    parts = [[np.asarray(shard, np.int64) for shard in part] for part in dataset.shards]
    if data.speaker_exponent != 1.0:
        whole = [np.concatenate(part) for part in parts]
        speakers, shares = by_speaker(dataset, whole, data.weights, data.speaker_exponent)
        return ShuffledOrder(speakers, batch_size, seed, shares)
    if not data.clip_lengths:
        return _plain_order(parts, data, batch_size, seed, data.weights, "data.shards")
    buckets = bucket_parts(parts, assign_buckets(dataset, data.clip_lengths), data.weights)
    orders = []
    for bucket in buckets:
        own_seed = int(np.random.SeedSequence([seed, 3, *bucket.bucket]).generate_state(1, np.uint32)[0])
        name = "the bucket {}x{}x{}".format(*bucket.bucket)
        orders.append(_plain_order(bucket.parts, data, batch_size, own_seed, bucket.weights, name))
    lengths = [bucket.bucket[0] for bucket in buckets]
    return BucketOrder(orders, lengths, [bucket.share for bucket in buckets], seed)


def _plain_order(
    parts: Sequence[Part], data: DataConfig, batch_size: int, seed: int, weights: Sequence[float], where: str
) -> Order:
    if data.order == "shuffle":
        return ShuffledOrder([np.concatenate(part) for part in parts], batch_size, seed, weights)
    total = sum(len(shard) for part in parts for shard in part)
    if total < batch_size:
        raise UserError(
            f"data.order=stream needs at least train.global_batch_size ({batch_size}) samples, but {where} "
            f"has {total}: use data.order=shuffle, a smaller batch or other data.buckets."
        )
    return StreamOrder(parts, batch_size, seed, weights)
