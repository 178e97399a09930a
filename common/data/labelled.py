"""Shards of labelled stretches of clips: how the commands that label write them, and who made them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from common.data.index import ShardIndex
from common.data.schema import encode_sample
from common.data.writer import ShardWriter
from common.files import fingerprint
from common.progress import StepProgress

T = TypeVar("T")

# Sets of shards that were made before the steps had today's names say these instead.
_FORMER_STEPS = {"listen": "lip_shapes"}


@dataclass(frozen=True)
class LabelledSample:
    """What is written for one stretch: its JSON ``meta`` (with "frames"), arrays, and features."""

    meta: Mapping[str, Any]
    features: Mapping[str, Any]
    arrays: Mapping[str, Any] | None = None


def write_labelled(
    work: Path,
    folder: Path,
    samples_per_shard: int,
    made_by: Mapping[str, Any],
    items: Sequence[T],
    key: Callable[[T], str],
    label: Callable[[T], LabelledSample],
) -> None:
    """Label ``items`` in their order and write them to ``folder``, going on where a run was interrupted.

    Args:
        work: stage 1's work folder, where the time is noted.
        made_by: goes into the index; ``made_by["step"]`` names the command.
        key: of an item's sample.
        label: makes an item's sample; not asked for those that are written already.
    """
    mark, step = fingerprint(made_by), str(made_by["step"])
    with ShardWriter(folder, folder.name, samples_per_shard, made_by) as writer:
        todo = items[writer.resume([key(item) for item in items]) :]
        progress = StepProgress(step, len(todo))
        for item in todo:
            sample = label(item)
            writer.add(
                key(item),
                encode_sample(
                    sample.meta, arrays=sample.arrays, cache=sample.features, cache_fingerprint=mark
                ),
            )
            progress.step(int(sample.meta["frames"]))
    progress.finish(work)


def labelling_step(index: ShardIndex) -> str | None:
    """Name of the step that labelled a set of shards; None where the index names none."""
    step = index.meta.get("step")
    return _FORMER_STEPS.get(step, step) if isinstance(step, str) else None
