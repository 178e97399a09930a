"""How far predicted lip shapes are stretched, measured on filmed lips; and how predictors are written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.data.dataset import ShardDataset
from common.data.labelled import labelling_step
from common.data.schema import Sample
from common.errors import UserError
from common.face.mouth import LIP_GAPS, lip_shape
from common.lip_shapes.label import STEP as LIP_SHAPES
from common.lip_shapes.phonetics import PhoneticNetwork
from common.phonetics.label import LIPS
from common.speech.windows import FEATURES_PER_FRAME, stored_margin

_GAIN_LIMIT = 2.5
_CALIBRATION_CLIPS = 2000


def require_filmed(dataset: ShardDataset, key: str) -> None:
    """Raises UserError where no lips of the data, which the setting ``key`` names, were measured."""
    if not _filmed(dataset):
        raise UserError(f"{key} has no filmed lips to calibrate on: add those of `common.lip_shapes.label`.")


@torch.no_grad()
def calibrate(model: Any, dataset: ShardDataset, spread: float) -> None:
    """Set ``offset`` and ``gain`` of a predictor so that its gaps spread as filmed ones do.

    Args:
        model: a :class:`~common.lip_shapes.network.CalibratedNetwork` in inference mode.
        dataset: labelled clips, some of them filmed.
        spread: the factor of ``lip_shapes.spread``, on all values.
    """
    made, wanted = [], []
    device = model.offset.device
    filmed = _filmed(dataset)
    for number in filmed[:: -(-len(filmed) // _CALIBRATION_CLIPS)]:
        features, shapes = clip_of(dataset.sample(number))
        read = per_frame(model(features[None].to(device)), len(shapes))[0].cpu()
        seen = shapes.isfinite().all(dim=1)
        made.append(read[seen])
        wanted.append(shapes[seen])
    read, true = torch.cat(made), torch.cat(wanted)
    model.offset.copy_(read.mean(dim=0))
    # Gaps alone: a wider or rounder mouth than was predicted is seen as a mistake, and followed badly.
    gain = (true.std(dim=0) / read.std(dim=0)).clamp(1.0, _GAIN_LIMIT)
    model.gain.fill_(1.0)[:LIP_GAPS].copy_(gain[:LIP_GAPS])
    model.gain.mul_(spread)


def save_predictor(model: Any, folder: Path) -> None:
    """Write a predictor: its phonetic encoders, which are most of it, as halves."""
    for module in model.modules():
        if isinstance(module, PhoneticNetwork):
            module.half()  # as it was stored; tuned weights lose nothing that shows
    model.save_pretrained(folder)


def clip_of(sample: Sample) -> tuple[Tensor, Tensor]:
    """(T, C) features and (N, 7) shapes of a sample; NaN where there is no face.

    The shapes that other predictors expect (`common.phonetics.label`), or those that were filmed.

    Raises:
        UserError: the sample has neither.
    """
    features = sample.cache["audio_features"].float()
    if LIPS in sample.cache:
        return features, sample.cache[LIPS].float().unflatten(0, (-1, FEATURES_PER_FRAME)).mean(dim=1)
    if "landmarks" not in sample.arrays:
        raise UserError(f"The sample {sample.key} has no landmarks: run `python -m common.lip_shapes.label`.")
    return features, torch.from_numpy(lip_shape(sample.arrays["landmarks"].numpy())).float()


def per_frame(values: Tensor, frames: int) -> Tensor:
    """(B, T, K) at 50 Hz, with margins -> (B, frames, K) at 25 Hz, without."""
    margin = FEATURES_PER_FRAME * stored_margin(values.shape[1], frames)
    inner = values[:, margin : margin + FEATURES_PER_FRAME * frames]
    return inner.unflatten(1, (frames, FEATURES_PER_FRAME)).mean(dim=2)


def _filmed(dataset: ShardDataset) -> list[int]:
    """Samples whose lips were measured."""
    parts = zip(dataset.indices, dataset.shards, strict=True)
    filmed = (shard for index, shards in parts if labelling_step(index) == LIP_SHAPES for shard in shards)
    return [number for shard in filmed for number in shard]
