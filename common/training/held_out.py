"""The flow loss on clips that are never trained on, at fixed noise levels with fixed noise.

A training loss varies with the noise levels that are drawn; this one uses the same clips, levels and noise at
every save, so that its curve moves only when the model does. The noise is a function of the clip and the
level: it is the same for runs with other seeds and numbers of processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from common.data.batch import DubBatch
from common.data.dataset import ShardDataset
from common.diffusion.flow import FlowMatching
from common.training.callback import StepResult, TrainingContext
from common.training.conditioning import FlowInputs, batch_conditions
from common.training.draws import Draw
from common.training.loading import MicroBatch
from common.training.strategy import FlowStrategy

LEVELS = tuple(tenth / 10 for tenth in range(1, 10))
HEARD = "heard"
_SEED = 0


class HeldOutLoss:
    """Mean weighted flow loss per noise level, with all conditions and without motion frames.

    An adapter phase is measured as it is trained: with its adapter at every level.

    Args:
        strategy, dataset: the training, and the clips that it does not see.
        samples: so many of the clips.
        every: steps between two measurements; 0: at every save.
        hearing: also what the editor hears, ``heard``: how much it changes the lips of a clip that it is
            shown when the speech is that of another clip.
    """

    name = "held_out"

    def __init__(
        self,
        strategy: FlowStrategy,
        dataset: ShardDataset,
        samples: int,
        every: int,
        hearing: bool = False,
    ) -> None:
        self._strategy, self._dataset = strategy, dataset
        self._count, self.every, self._hearing = min(samples, len(dataset)), every, hearing

    def run(self, context: TrainingContext) -> StepResult:
        device = context.accelerator.device
        sums = torch.zeros(2, len(LEVELS), device=device)
        for draws, real in self._shares(context.layout.data_world, context.layout.data_rank):
            counted = torch.tensor(real, device=device)
            batch = self._batch(draws, device)
            others = self._others_speech(draws, device) if self._hearing else None
            for i, sigma in enumerate(LEVELS):
                inputs = fixed_inputs(batch, draws, self._strategy.flow, sigma, self._strategy.text)
                losses = self._strategy.loss(context.wrapped, inputs).loss
                sums[0, i] += (losses.float() * counted).sum()
                if others is not None:
                    sums[1, i] += (self._heard(context.wrapped, inputs, others) * counted).sum()
        means, heard = (context.sum(sums) / self._count).tolist()
        values = {f"t{t:.1f}": value for t, value in zip(LEVELS, means, strict=True)}
        values["mean"] = mean = sum(means) / len(means)
        line = "  ".join(f"{t:.1f}:{value:.4f}" for t, value in zip(LEVELS, means, strict=True))
        line = f"loss {mean:.4f} at t {line} ({self._count} clips)"
        if self._hearing:
            values[HEARD] = sum(heard) / len(heard)
            line += f", heard {values[HEARD]:.4f}"
        return StepResult(row={**values, "samples": self._count}, line=line, scalars=values)

    def _others_speech(self, draws: Sequence[Draw], device: torch.device) -> Tensor:
        """(B, F, W, A): the speech of other clips."""
        away = self._count // 2  # clips that follow each other may overlap
        elsewhere = [Draw((draw.number + away) % self._count, 0, draw.position) for draw in draws]
        return self._batch(elsewhere, device).audio_features

    def _heard(self, model: nn.Module, inputs: FlowInputs, others: Tensor) -> Tensor:
        """(B,): how much z_0 changes with the speech, |difference| in cells of the lips.

        The reference is the clip itself: an editor that copies the lips it is shown changes nothing.
        """
        shown = replace(inputs.conditions, reference=inputs.batch.target_latents)
        own, other = (
            self._strategy.velocity(
                model, replace(inputs, conditions=replace(shown, audio_features=features))
            ).float()
            for features in (inputs.batch.audio_features, others)
        )
        lips = inputs.batch.lip_mask[:, None].float()
        change = (inputs.sigma.view(-1, 1, 1, 1, 1) * (own - other)).abs() * lips
        return change.mean(dim=1).sum(dim=(1, 2, 3)) / lips.sum(dim=(1, 2, 3, 4)).clamp(min=1)

    def _batch(self, draws: Sequence[Draw], device: torch.device) -> DubBatch:
        return self._strategy.batch(read_clips(self._strategy, self._dataset, draws), device)

    def _shares(self, world: int, rank: int) -> Iterator[tuple[list[Draw], list[float]]]:
        """Micro-batches of this process and which of their rows count.

        A sharded model wants every process to call it equally often: short shares are filled with rows that
        count nothing.
        """
        micro = self._strategy.train.micro_batch_size
        rounds = -(-self._count // (world * micro))
        for number in range(rounds):
            first = (number * world + rank) * micro
            rows = range(first, first + micro)
            draws = [Draw(row % self._count, 0, row) for row in rows]
            yield draws, [float(row < self._count) for row in rows]


def fixed_inputs(
    batch: DubBatch, draws: Sequence[Draw], flow: FlowMatching, sigma: float, text: Tensor | None = None
) -> FlowInputs:
    """Inputs at noise level ``sigma`` for all, nothing dropped; the noise is a function of clip and level."""
    clean = batch.target_latents
    noise = torch.stack([_noise(draw, clean.shape[1:], f"held-out {sigma:.1f}") for draw in draws]).to(clean)
    levels = clean.new_full((len(draws),), sigma)
    return FlowInputs(
        batch=batch,
        conditions=batch_conditions(batch, text),
        sigma=levels,
        noisy=flow.add_noise(clean, noise, levels),
        velocity=flow.velocity_target(clean, noise),
        clean_frames=torch.zeros(len(draws), dtype=torch.int64, device=clean.device),
        has_audio=torch.ones(len(draws), dtype=torch.bool),
        has_reference=torch.ones(len(draws), dtype=torch.bool),
    )


def read_clips(strategy: FlowStrategy, dataset: ShardDataset, draws: Sequence[Draw]) -> MicroBatch:
    """Clips of a data set as the training's loader would hand them over."""
    return strategy.collate()([(draw, dataset.sample(draw.number)) for draw in draws])


def _noise(draw: Draw, shape: Sequence[int], purpose: str) -> Tensor:
    # Not of the row: the noise must not depend on where in the evaluation the clip comes.
    generator = Draw(draw.number, 0, draw.number).generator(_SEED, purpose)
    return torch.randn(tuple(shape), generator=generator)
