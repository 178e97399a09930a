"""Measure how far the sound of each video runs ahead of its lips.

``python common/sync_expert/measure.py --expert PACKAGE --shards STAGE1/encoded --output offsets.json``;
``prepare.offsets`` takes the table. Scores are averaged over all clips of a video: one
second says little.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from common.autoencoder.pixels import to_video
from common.data.dataset import ShardDataset
from common.errors import EXIT_CODE, UserError
from common.files import write_json
from common.speech.windows import stored_margin
from common.sync_expert.model import SyncExpert, SyncScore, load_expert, offset_scores


@dataclass
class VideoSync:
    """Mean cosine of one video per shift -reach ... reach, over its clips."""

    curves: list[NDArray[np.float32]] = field(default_factory=list)

    @property
    def curve(self) -> NDArray[np.float32]:
        with np.errstate(all="ignore"):
            return np.asarray(np.nanmean(np.stack(self.curves), axis=0), np.float32)

    @property
    def score(self) -> SyncScore:
        return SyncScore.of(torch.from_numpy(self.curve))


def measure(expert: SyncExpert, dataset: ShardDataset, reach: int = 5) -> dict[str, VideoSync]:
    """Score every clip of a data set at shifts of up to ``reach`` frames; its videos by name.

    Raises:
        UserError: the features are of another speech encoder than the expert's.
    """
    for index in dataset.indices:
        speech = index.meta.get("speech")
        if expert.speech and speech and speech != expert.speech:
            raise UserError(
                f"The shards in '{index.folder}' hold features of the speech encoder {speech}, the expert "
                f"reads {expert.speech}: encode them with that one, or train another expert."
            )
    device = next(expert.parameters()).device
    videos: dict[str, VideoSync] = {}
    for number in range(len(dataset)):
        sample = dataset.sample(number)
        features = sample.cache["audio_features"].float()
        margin = stored_margin(features.shape[0], int(sample.meta["frames"]))
        frames = to_video(sample.target[None])[0].to(device)
        scores = offset_scores(expert, frames, features.to(device), margin, reach)
        videos.setdefault(str(sample.meta.get("video", sample.key)), VideoSync()).curves.append(
            scores.numpy()
        )
    return videos


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measure the lag between sound and lips of each video.")
    parser.add_argument("--expert", required=True, help="package of common/sync_expert/train.py")
    parser.add_argument("--shards", required=True, nargs="+", help="clips of stage 1's encode step")
    parser.add_argument("--reach", type=int, default=5, help="largest lag in frames (default 5)")
    parser.add_argument("--output", required=True, type=Path, help="JSON for prepare.offsets")
    arguments = parser.parse_args(argv)
    try:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        expert = load_expert(arguments.expert).eval()
        # Any device: diffusers' decorator hides the signature of `to` from type checkers.
        expert.to(device)  # type: ignore[arg-type]
        videos = measure(expert, ShardDataset(list(arguments.shards)), arguments.reach)
        rows = {}
        for name, one in sorted(videos.items()):
            found = one.score
            rows[name] = {
                # The lips of frame i fit the sound of frame i + offset.
                "offset_frames": found.offset,
                "confidence": round(found.confidence, 4),
                "clips": len(one.curves),
            }
        write_json(arguments.output, {"videos": rows})
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_CODE
    counts = {
        k: sum(row["offset_frames"] == k for row in rows.values())
        for k in range(-arguments.reach, arguments.reach + 1)
    }
    print("offsets (frames: videos) " + ", ".join(f"{k:+d}: {n}" for k, n in counts.items() if n))
    return 0


if __name__ == "__main__":
    sys.exit(main())
