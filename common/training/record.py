"""What a model package says of its training: enough to repeat it, nothing of the machine that ran it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from common.data.config import DataConfig
from common.data.dataset import ShardDataset
from common.files import fingerprint
from common.training.config import FlowTrainConfig


def training_record(train: FlowTrainConfig, dataset: ShardDataset) -> dict[str, Any]:
    """Settings and data of a run. Of folders only the last two names are kept.

    Returns:
        ``train``: the settings, without the output folder. ``data``: per folder of shards its name, the
        number of its samples and the SHA-256 of its tars.
    """
    settings = {name: value for name, value in asdict(train).items() if name != "output"}
    settings["init_from"] = short_name(train.init_from)
    data = [
        {
            "folder": short_name(index.folder),
            "samples": index.num_samples,
            "sha256": [shard.sha256 for shard in index.shards],
        }
        for index in dataset.indices
    ]
    return {"train": settings, "data": data}


def data_fingerprint(dataset: ShardDataset, data: DataConfig) -> str:
    """Identifies the samples and what decides the order in which they are drawn, not where they lie."""
    tars = [[shard.sha256 for shard in index.shards] for index in dataset.indices]
    drawn = {"order": data.order, "buckets": data.clip_lengths, "weights": [float(w) for w in data.weights]}
    return fingerprint({"tars": tars, **drawn})


def short_name(folder: str | Path) -> str:
    """The last two names of a path."""
    return "/".join(Path(folder).parts[-2:])
