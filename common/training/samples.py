"""Held-out clips dubbed with the model in training: a strip to look at, and how well lips and sound fit.

Rows of the strip: what the model was given, the truth, what it made. With a sync expert each clip gets the
expert's score at no shift, the shift that fits best, and the confidence (best minus median over the shifts);
so does the truth, without whose scores the others say little.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from common.autoencoder.codec import VideoCodec
from common.autoencoder.pixels import to_frames, to_video
from common.data.batch import DubBatch
from common.data.dataset import ShardDataset
from common.diffusion.config import DiffusionConfig
from common.diffusion.sampler import build_sampler
from common.errors import UserError
from common.media import contact_sheet
from common.models.adapters import Adapter, AdapterSwitch
from common.speech.windows import BASE_WINDOW
from common.sync_expert.model import SyncExpert, SyncScore, offset_scores
from common.training.callback import StepResult, TrainingContext
from common.training.conditioning import batch_conditions
from common.training.draws import Draw
from common.training.held_out import read_clips
from common.training.strategy import FlowStrategy

FOLDER = "samples"
ROWS = ("source", "target", "made")
COLUMNS = 12
HEIGHT = 160
REACH = 15
# The features of consecutive latent frames join to those of the clip and three video frames before it.
_MARGIN = 3
_SEED = 0


class SampleStrips:
    """Dubs ``clips`` held-out clips at every save, spread over the processes."""

    name = "samples"
    every = 0

    def __init__(
        self,
        strategy: FlowStrategy,
        dataset: ShardDataset,
        codec: VideoCodec,
        diffusion: DiffusionConfig,
        clips: int,
        expert: SyncExpert | None = None,
    ) -> None:
        """Raises UserError where the expert's window, crops or speech are not those of the clips."""
        self._strategy, self._dataset, self._codec = strategy, dataset, codec
        self._diffusion, self._clips, self._expert = diffusion, min(clips, len(dataset)), expert
        geometry = strategy.geometry
        if expert is None:
            return
        config: Any = expert.config
        if config.crop_size != geometry.crop_size or expert.frames > geometry.clip_frames:
            raise UserError(
                f"train.sample_expert scores {expert.frames} frames of {config.crop_size} px, the clips are "
                f"{geometry.clip_frames} frames of {geometry.crop_size} px: train an expert on such clips."
            )

    def run(self, context: TrainingContext) -> StepResult:
        accelerator = context.accelerator
        world, rank = context.layout.data_world, context.layout.data_rank
        frames = torch.zeros(self._clips, len(ROWS), *self._strip_shape(), device=accelerator.device)
        scores = torch.zeros(self._clips, 2, 3, dtype=torch.float64, device=accelerator.device)
        keys: list[str] = self._dataset.keys[: self._clips]
        with _elsewhere(self._codec, accelerator.device):
            for first in range(0, self._clips, world):
                # Processes without a clip dub one again: all have to call a sharded model equally often.
                number = min(first + rank, self._clips - 1)
                batch = self._read(number, accelerator.device)
                latents = self._sample(context, batch, number)
                if first + rank < self._clips:
                    self._measure(batch, latents, frames[number], scores[number])
        frames, scores = context.sum(frames), context.sum(scores)
        if not accelerator.is_main_process:
            return StepResult({}, "")
        strips = frames.cpu().numpy().astype(np.uint8)
        return self._report(context.output, context.step, keys, strips, scores.cpu())

    def _read(self, number: int, device: torch.device) -> DubBatch:
        micro = read_clips(self._strategy, self._dataset, [Draw(number, 0, number)])
        return self._strategy.batch(micro, device)

    def _sample(self, context: TrainingContext, batch: DubBatch, number: int) -> Tensor:
        diffusion = self._diffusion
        adapters: tuple[Adapter, ...] = getattr(self._strategy, "adapters", ())
        dubber, transformer = self._strategy.dubber(context.wrapped, context.model)
        sampler = build_sampler(
            diffusion,
            border=diffusion.border if batch.masked_latents is None else 0,
            before_step=AdapterSwitch(transformer, adapters),  # type: ignore[arg-type]
        )
        generator = Draw(number, 0, number).generator(_SEED, "samples")
        noise = torch.randn(batch.target_latents.shape, generator=generator).to(batch.target_latents)
        conditions = batch_conditions(batch, self._strategy.text)
        with adapters_as_they_are(context.model):
            return sampler.sample(dubber, noise, conditions)

    def _measure(self, batch: DubBatch, latents: Tensor, strip: Tensor, scores: Tensor) -> None:
        """Fill ``strip`` (rows, columns, H, H, 3) and ``scores`` (made and truth, 3) of one clip."""
        source = batch.reference_latents if batch.masked_latents is None else batch.masked_latents
        videos = [to_frames(self._codec.decode(one))[0] for one in (source, batch.target_latents, latents)]
        for row, video in enumerate(videos):
            strip[row] = torch.from_numpy(_picks(video, self._columns, self._height)).to(strip)
        if self._expert is None:
            return
        extra = self._strategy.extra_window
        audio_features = batch.audio_features[0, :, extra : extra + BASE_WINDOW].flatten(0, 1)
        expert: Any = self._expert.to(latents.device)  # type: ignore[arg-type]
        for row, video in enumerate((videos[2], videos[1])):
            shown = to_video(video[None])[0].to(latents.device)
            one = SyncScore.of(offset_scores(expert, shown, audio_features, _MARGIN, REACH))
            scores[row] = torch.tensor([one.score, one.offset, one.confidence])
        expert.to("cpu")

    def _report(
        self, output: Path, step: int, keys: list[str], strips: NDArray[np.uint8], scores: Tensor
    ) -> StepResult:
        rows, clips, words, scalars = [], [], [], {}
        for number, key in enumerate(keys):
            clip: dict[str, Any] = {"key": key}
            note = ""
            if self._expert is not None:
                made, truth = (SyncScore(s[0], round(s[1]), s[2]) for s in scores[number].tolist())
                clip |= {"made": vars(made), "truth": vars(truth)}
                note = f" sync {made.score:.3f} at {made.offset:+d} (truth {truth.score:.3f})"
                words.append(f"{key}{note}")
            clips.append(clip)
            rows += [
                (f"{key} {name}{note if name == 'made' else ''}", strips[number, i])
                for i, name in enumerate(ROWS)
            ]
        if self._expert is not None:
            for who in ("made", "truth"):
                for what in ("score", "confidence"):
                    scalars[f"{who}_{what}"] = float(np.mean([clip[who][what] for clip in clips]))
        (output / FOLDER).mkdir(exist_ok=True)
        path = output / FOLDER / f"step-{step:08d}.png"
        contact_sheet(rows, path, self._columns, self._height)
        image = np.asarray(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB), np.uint8)
        told = "; ".join(words) if words else "no expert, no scores"
        return StepResult(
            row={"clips": clips, "image": f"{FOLDER}/{path.name}"},
            line=f"{path} ({told})",
            scalars=scalars,
            images={"strip": image},
        )

    @property
    def _columns(self) -> int:
        return min(COLUMNS, self._strategy.geometry.clip_frames)

    @property
    def _height(self) -> int:
        return min(HEIGHT, self._strategy.geometry.crop_size)

    def _strip_shape(self) -> tuple[int, int, int, int]:
        return self._columns, self._height, self._height, 3


@contextmanager
def adapters_as_they_are(model: nn.Module) -> Iterator[None]:
    """Afterwards the adapters are on or off, trained or frozen, as they were before.

    The sampler switches them by noise level, and peft changes ``requires_grad`` along with it.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, BaseTunerLayer)]
    before = [(list(layer.active_adapters), layer.disable_adapters) for layer in layers]
    trained = [parameter.requires_grad for parameter in model.parameters()]
    try:
        yield
    finally:
        for layer, (active, disabled) in zip(layers, before, strict=True):
            layer.enable_adapters(not disabled)
            layer.set_adapter(active)
        for parameter, flag in zip(model.parameters(), trained, strict=True):
            parameter.requires_grad_(flag)


@contextmanager
def _elsewhere(codec: VideoCodec, device: torch.device) -> Iterator[None]:
    """The autoencoder on ``device``, and back where it was: training needs the memory."""
    home = codec.device
    codec.to(device)
    try:
        yield
    finally:
        codec.to(home)


def _picks(video: NDArray[np.uint8], columns: int, height: int) -> NDArray[np.uint8]:
    """(columns, height, height, 3): the middles of equal shares of the clip."""
    middles = ((np.arange(columns) + 0.5) * len(video) / columns).astype(int)
    size = (height, height)
    return np.stack([cv2.resize(video[i], size, interpolation=cv2.INTER_AREA) for i in middles])
