"""What a set of shards holds, in words and numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch

from common.data.dataset import ShardDataset
from common.data.index import ShardIndex
from common.data.schema import CACHE, Sample
from common.errors import UserError


def describe_index(index: ShardIndex) -> list[str]:
    """Counts, sizes and fingerprints of one folder of shards."""
    size = sum(shard.filesize for shard in index.shards)
    per_member: Counter[str] = Counter()
    for shard in index.shards:
        for sample in shard.samples:
            per_member.update({name: span[1] for name, span in sample.members.items()})
    lines = [
        f"{index.folder}",
        f"  samples {index.num_samples:,} in {len(index.shards):,} shards, {size / 2**20:,.1f} MiB",
        *(f"  {name} {index.meta[name]}" for name in sorted(index.meta)),
    ]
    mean = {name: total / max(index.num_samples, 1) / 1024 for name, total in per_member.items()}
    return [*lines, *(f"  {name} {kib:,.1f} KiB per sample" for name, kib in mean.items())]


def describe_shapes(dataset: ShardDataset) -> list[str]:
    """How many samples there are of each length and size: what ``data.buckets`` is chosen from."""
    counts: Counter[str] = Counter()
    for number in range(len(dataset)):
        try:
            frames, height, width = dataset.shape(number)
            counts[f"{frames} frames, latents {height} x {width}"] += 1
        except UserError:
            counts["neither latents nor masks tell"] += 1
    return [f"  {count:,} of {shape}" for shape, count in sorted(counts.items())]


def describe_cache(sample: Sample) -> list[str]:
    """Shape, range and spread of every cached tensor; numbers that are none are counted."""
    if not sample.has(CACHE):
        return ["  no cache"]
    lines = [f"  cache made by {sample.cache_fingerprint or 'unknown'}"]
    for name, value in sample.cache.items():
        shape = " x ".join(map(str, value.shape))
        if not value.is_floating_point():
            lines.append(f"  {name} {shape}: {value.flatten()[:8].tolist()}")
            continue
        numbers = value.double()
        good = numbers[torch.isfinite(numbers)]
        text = "no finite number"
        if good.numel():
            text = (
                f"mean {good.mean():.3f}, deviation {good.std(correction=0):.3f}, "
                f"{good.min():.2f} .. {good.max():.2f}"
            )
        bad = numbers.numel() - good.numel()
        lines.append(f"  {name} {shape}: {text}" + (f", {bad} NaN OR INFINITE" if bad else ""))
    return lines


def spread(total: int, count: int) -> Sequence[int]:
    """``count`` numbers below ``total``, evenly spread, first and last included where there are two."""
    return sorted({int(n) for n in np.linspace(0, total - 1, min(count, total)).round()})
