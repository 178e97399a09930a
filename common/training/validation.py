"""The callbacks that a configuration asks for: the held-out loss and samples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from common.data.dataset import ShardDataset
from common.data.schema import CACHE
from common.errors import UserError
from common.sync_expert.model import SyncExpert, load_expert
from common.training.callback import TrainingCallback
from common.training.config import FlowTrainingConfig
from common.training.held_out import HeldOutLoss
from common.training.loading import check_encoders
from common.training.samples import SampleStrips
from common.training.strategy import Alternating, FlowStrategy, Strategy


def validation_callbacks(
    config: FlowTrainingConfig, strategy: Strategy | FlowStrategy
) -> list[TrainingCallback]:
    """The held-out loss and the samples, where ``data.held_out`` names shards.

    Raises:
        UserError: the held-out shards are missing, not cached or of other encoders, or the sync expert cannot
            score them.
    """
    train, held_out = config.train, list(config.data.held_out)
    if not held_out:
        if train.sample_expert:
            raise UserError(
                "train.sample_expert scores samples of held-out clips: name their shards in data.held_out."
            )
        return []
    if not isinstance(strategy, FlowStrategy):
        raise UserError("data.held_out is measured in the trainings of the two stages only: leave it empty.")
    dataset = ShardDataset(held_out)
    if train.evaluate_hearing and min(len(dataset), train.evaluate_samples) < 2:
        raise UserError(
            "train.evaluate_hearing lets held-out clips hear each other's speech, but data.held_out and "
            "train.evaluate_samples leave only one: give more clips, or set it to false."
        )
    codec, speech = strategy.start.codec, strategy.speech_fingerprint
    check_encoders(dataset, codec.fingerprint, speech)
    for number in range(min(max(train.evaluate_samples, train.sample_clips), len(dataset))):
        if not dataset.sample(number).has(CACHE):
            raise UserError(
                f"The sample {dataset.keys[number]} of data.held_out has no cached latents: encode it first."
            )
    callbacks: list[TrainingCallback] = []
    if not isinstance(strategy, Alternating):  # with parts that are trained in turn there is no one flow loss
        callbacks.append(
            HeldOutLoss(
                strategy, dataset, train.evaluate_samples, train.evaluate_every, train.evaluate_hearing
            )
        )
    if train.sample_clips:
        diffusion = replace(config.diffusion, num_steps=train.sample_steps or config.diffusion.num_steps)
        expert = _expert(config, speech) if train.sample_expert else None
        callbacks.append(SampleStrips(strategy, dataset, codec, diffusion, train.sample_clips, expert))
    return callbacks


def _expert(config: FlowTrainingConfig, speech: str) -> SyncExpert:
    named = config.train.sample_expert
    if config.loss_expert and Path(config.loss_expert).resolve() == Path(named).resolve():
        raise UserError(
            f"train.sample_expert is {named}, the expert of a loss of this training: a model that was "
            "trained to please it must be measured by another one."
        )
    expert = load_expert(named)
    if expert.speech and expert.speech != speech:
        raise UserError(
            f"train.sample_expert reads features of the speech encoder {expert.speech}, this training's are "
            f"of {speech}: train an expert on features of that encoder."
        )
    return expert.eval().requires_grad_(False)
