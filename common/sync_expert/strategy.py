"""Training of the sync expert on the shards of stage 1 (LatentSync, arXiv 2412.09262).

Each clip gives one true pair and one false pair of the same clip, its lips with sound that is shifted; a
second false pair takes the sound of the next clip of the micro-batch.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from common.autoencoder.pixels import to_video
from common.data.dataset import ShardDataset
from common.data.schema import Sample
from common.errors import UserError
from common.files import atomic_dir
from common.speech.windows import FEATURES_PER_FRAME, stored_margin
from common.sync_expert.config import SyncConfig
from common.sync_expert.model import SyncExpert, SyncScore, offset_scores
from common.training.config import OptimisationConfig
from common.training.draws import Draw
from common.training.strategy import SampleLosses

CHANCE = math.log(2.0)


@dataclass(frozen=True)
class SyncMicro:
    """B clips. frames: (B, L, S, S, 3) uint8; features: (B, 2 (L + 2 margin), A)."""

    draws: tuple[Draw, ...]
    frames: NDArray[np.uint8]
    features: Tensor

    @property
    def margin(self) -> int:
        return stored_margin(self.features.shape[1], self.frames.shape[1])


@dataclass(frozen=True)
class SyncInputs:
    """B windows of N frames, (B, 3, N, S, S), and their candidates (B, 3, 2 N, A): true, shifted, foreign."""

    frames: Tensor
    features: Tensor


def collate(items: Sequence[tuple[Draw, Sample]]) -> SyncMicro:
    """Runs in the loader's workers, where the videos are decoded."""
    features = [sample.cache["audio_features"].float() for _, sample in items]
    lengths = [int(sample.meta["frames"]) for _, sample in items]
    margins = {stored_margin(len(f), n) for f, n in zip(features, lengths, strict=True)}
    if len(margins) > 1:
        raise UserError("data.shards holds clips with different margins of speech: encode them alike.")
    length = min(lengths)
    size = FEATURES_PER_FRAME * (length + 2 * margins.pop())
    return SyncMicro(
        tuple(draw for draw, _ in items),
        np.stack([sample.target[:length] for _, sample in items]),
        torch.stack([f[:size] for f in features]),
    )


class SyncStrategy:
    """Binary cross-entropy of true against false pairs, for the trainer of the stages."""

    def __init__(
        self,
        config: SyncConfig,
        train: OptimisationConfig,
        dataset: ShardDataset,
    ) -> None:
        """Raises UserError where the clips are too short for the expert's window."""
        self.config, self.train = config, train
        encoders = {str(index.meta.get("speech", "")) for index in dataset.indices}
        if len(encoders) > 1:
            raise UserError(
                "data.shards holds features of different speech encoders: encode them again with one."
            )
        self.speech = encoders.pop()
        first = dataset.sample(0)
        self.crop_size = first.target.shape[1]
        self.channels = first.cache["audio_features"].shape[1]
        length = int(first.meta["frames"])
        if length < config.frames + config.min_shift:
            raise UserError(
                f"The sample {first.key} has {length} frames: sync.frames ({config.frames}) and the shift "
                f"({config.min_shift}) do not fit; encode longer clips or set sync.frames lower."
            )

    def describe(self, clips: int) -> list[str]:
        """Lines for --dry-run: everything derived from configuration and data."""
        with torch.device("meta"):
            count = sum(value.numel() for value in self.build_model().parameters())
        seen = self.train.max_steps * self.train.global_batch_size
        return [
            f"parameters       {count:,}",
            f"window           {self.config.frames} frames of {self.crop_size // 2} x {self.crop_size} px",
            f"clips            {clips}",
            f"steps            {self.train.max_steps:,}, {seen / clips:.1f} epochs",
        ]

    def build_model(self) -> nn.Module:
        config = self.config
        return SyncExpert(
            crop_size=self.crop_size,
            frames=config.frames,
            audio_channels=self.channels,
            widths=tuple(config.widths),
            embed_dim=config.embed_dim,
            speech=self.speech,
        )

    def collate(self) -> Any:
        return collate

    def prepare(self, micro: SyncMicro, device: torch.device, vary: bool = True) -> SyncInputs:
        """``vary``: with jitter, for training."""
        frames, true, shifted = [], [], []
        for row, draw in enumerate(micro.draws):
            start, other = self._draw_starts(draw, micro.frames.shape[1], micro.margin)
            window = micro.frames[row, start : start + self.config.frames]
            frames.append(self._vary(draw, window) if vary else window)
            true.append(self._window(micro, row, start))
            shifted.append(self._window(micro, row, other))
        truth = torch.stack(true)
        candidates = torch.stack([truth, torch.stack(shifted), truth.roll(1, dims=0)], dim=1)
        return SyncInputs(to_video(np.stack(frames)).to(device), candidates.to(device))

    def loss(self, model: nn.Module, inputs: SyncInputs) -> SampleLosses:
        logits = model(inputs.frames, inputs.features)
        labels = torch.zeros_like(logits)
        labels[:, 0] = 1.0
        # One true pair weighs as much as both false ones.
        weights = logits.new_tensor([0.5, 0.25, 0.25])
        each = functional.binary_cross_entropy_with_logits(logits.float(), labels, reduction="none")
        right = ((logits > 0) == (labels > 0)).float()
        parts = {"accuracy": (right.detach() * weights).sum(dim=1)}
        # There is no noise level here: all samples fall into one bucket.
        return SampleLosses(
            (each * weights).sum(dim=1), torch.zeros(len(logits), device=logits.device), parts
        )

    def identity(self) -> dict[str, Any]:
        expert = asdict(self.config)
        expert.pop("held_out")  # only measured
        return {
            "task": "sync",
            "expert": expert,
            "crop_size": self.crop_size,
            "speech": self.speech,
        }

    def save_package(self, model: nn.Module, folder: Path) -> None:
        assert isinstance(model, SyncExpert)
        with atomic_dir(folder) as temporary:
            model.save_pretrained(temporary)

    def _draw_starts(self, draw: Draw, length: int, margin: int) -> tuple[int, int]:
        """First frame of the window, and of the sound that takes its place in the false pair."""
        generator = draw.generator(self.train.seed, "sync")
        count = self.config.frames
        start = int(torch.randint(length - count + 1, (1,), generator=generator))
        possible = range(-margin, length + margin - count + 1)
        allowed = [other for other in possible if abs(other - start) >= self.config.min_shift]
        return start, allowed[int(torch.randint(len(allowed), (1,), generator=generator))]

    def _vary(self, draw: Draw, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The same lips in other light, sometimes mirrored: few speakers must not be memorised."""
        if not self.config.jitter:
            return frames
        gain, lift, mirror = torch.rand(3, generator=draw.generator(self.train.seed, "vary")).tolist()
        scale = 1.0 + self.config.jitter * (2.0 * gain - 1.0)
        varied = frames * np.float32(scale) + np.float32(128.0 * self.config.jitter * (2.0 * lift - 1.0))
        light: NDArray[np.uint8] = varied.clip(0, 255).astype(np.uint8)
        return light[:, :, ::-1] if mirror < 0.5 else light

    def _window(self, micro: SyncMicro, row: int, start: int) -> Tensor:
        first = FEATURES_PER_FRAME * (micro.margin + start)
        return micro.features[row, first : first + FEATURES_PER_FRAME * self.config.frames]


@dataclass(frozen=True)
class SyncReport:
    """What an expert is worth on clips that it never saw.

    accuracy: share of (true, shifted) pairs told apart rightly. offsets: shift in frames -> clips whose best
    match it is. loss: mean cross-entropy; at ln 2 = 0.693 nothing was learnt.
    """

    accuracy: float
    loss: float
    offsets: dict[int, int]

    @property
    def at_chance(self) -> bool:
        return self.loss > 0.98 * CHANCE


@torch.no_grad()
def evaluate_expert(
    expert: SyncExpert, strategy: SyncStrategy, dataset: ShardDataset, batch_size: int = 16
) -> SyncReport:
    """Measure an expert on a data set, one drawn window per clip for the loss, all windows for the offset."""
    device = next(expert.parameters()).device
    losses, right, offsets = [], [], Counter[int]()
    for first in range(0, len(dataset), batch_size):
        items = [
            (Draw(number, 0, number), dataset.sample(number))
            for number in range(first, min(first + batch_size, len(dataset)))
        ]
        micro = collate(items)
        result = strategy.loss(expert, strategy.prepare(micro, device, vary=False))
        losses.append(result.loss)
        right.append(result.parts["accuracy"])
        reach = micro.margin
        for frames, features in zip(micro.frames, micro.features, strict=True):
            video = to_video(frames[None])[0].to(device)
            scores = offset_scores(expert, video, features.to(device), micro.margin, reach)
            offsets[SyncScore.of(scores).offset] += 1
    return SyncReport(
        float(torch.cat(right).mean()), float(torch.cat(losses).mean()), dict(sorted(offsets.items()))
    )
