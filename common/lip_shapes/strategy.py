"""Training of a lip-shape predictor: from log-mel features to the shapes of mouths, by landmarks alone.

A picture model would have to learn at once how faces look and which sound belongs to which lips, and the
second is a small part of its loss. Here it is all of it, at a thousandth of the cost (gap G: the papers have
enough data to do without).
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from common.data.dataset import ShardDataset
from common.data.labelled import labelling_step
from common.data.schema import Sample
from common.errors import UserError
from common.face.mouth import LIP_GAPS, LIP_SHAPE
from common.files import atomic_dir, sampled_digest
from common.lip_shapes.calibration import calibrate, clip_of, per_frame, require_filmed, save_predictor
from common.lip_shapes.config import LipTrainingConfig
from common.lip_shapes.label import MARGIN
from common.lip_shapes.label import STEP as LIP_SHAPES
from common.lip_shapes.model import LipShapePredictor
from common.lip_shapes.network import load_phonetics
from common.phonetics.label import LIPS
from common.phonetics.label import STEP as PHONETICS
from common.speech.config import SpeechAugmentConfig
from common.speech.labelled import require_labelled
from common.speech.mel import MelEncoder
from common.speech.mel_augment import augment_mel
from common.speech.windows import FEATURES_PER_FRAME, stored_margin
from common.training.draws import Draw
from common.training.strategy import SampleLosses

_BANDS = MelEncoder.channels
_COMMANDS = {LIP_SHAPES: "common.lip_shapes.label", PHONETICS: "common.phonetics.label"}
_MIDDLE = LIP_SHAPE.index("gap")
_BORDER = 3
"""Frames before and after the beginning and the end of a silence in which the mouth may be anything."""
_LEAST_MOVEMENT = 0.05
"""Deviation of an opening, in units of lip shape, below which its correlation says nothing."""
_SPREAD_WEIGHT = 0.5
"""Of the absolute gap against its movement: how far a mouth is open on average is mostly whose it is."""


@dataclass(frozen=True)
class LabelledClips:
    """``features``: (B, T, 80), with margins. ``shapes``: (B, N, 7) of the N frames between the margins."""

    draws: tuple[Draw, ...]
    features: Tensor
    shapes: Tensor

    def __len__(self) -> int:
        return len(self.draws)


@dataclass(frozen=True)
class CollateClips:
    """Collate function: other recordings of the same words, faster and slower ones, and silences."""

    seed: int
    augment: SpeechAugmentConfig
    frames: int
    """Of a clip: of samples that hold more a stretch is taken."""
    silence: float
    """Share of the clips that get a stretch of silence."""
    tempo: float
    """Half of the clips are faster or slower by up to this share."""

    def __call__(self, items: Sequence[tuple[Draw, Sample]]) -> LabelledClips:
        clips = [self._clip(draw, sample) for draw, sample in items]
        return LabelledClips(
            tuple(draw for draw, _ in items), *(torch.stack(list(part)) for part in zip(*clips, strict=True))
        )

    def _clip(self, draw: Draw, sample: Sample) -> tuple[Tensor, Tensor]:
        place = float(torch.rand((), generator=draw.generator(self.seed, "stretch")))
        features, shapes = cut(*clip_of(sample), self.frames, place)
        changed, speed = torch.rand(2, generator=draw.generator(self.seed, "tempo")).tolist()
        if self.tempo and changed < 0.5:
            features, shapes = at_tempo(features, shapes, (1 + self.tempo) ** (2 * speed - 1))
        generator = draw.generator(self.seed, "silence")
        chosen, middle, share = torch.rand(3, generator=generator).tolist()
        if chosen < self.silence:
            features, shapes = silenced(features, shapes, middle, 0.3 + 0.9 * share)
        bands = augment_mel(features[:, :_BANDS], draw.generator(self.seed, "speech"), self.augment)
        return torch.cat([bands, features[:, _BANDS:]], dim=1), shapes


def cut(features: Tensor, shapes: Tensor, frames: int, place: float) -> tuple[Tensor, Tensor]:
    """A stretch of a clip that has more than ``frames``, with the margin of the labelled clips.

    Args:
        place: from 0, its beginning, to 1, its end.

    Raises:
        UserError: the clip is shorter.
    """
    margin = stored_margin(len(features), len(shapes))
    if len(shapes) < frames or margin < MARGIN:
        raise UserError(
            f"A sample has {len(shapes)} frames with a margin of {margin}, but geometry.clip_frames is "
            f"{frames} and predictors see {MARGIN} more on both sides: make the shards again."
        )
    first = round(place * (len(shapes) - frames))
    begin = FEATURES_PER_FRAME * (first + margin - MARGIN)
    length = FEATURES_PER_FRAME * (frames + 2 * MARGIN)
    return features[begin : begin + length], shapes[first : first + frames]


def silenced(features: Tensor, shapes: Tensor, middle: float, share: float) -> tuple[Tensor, Tensor]:
    """A stretch in which nothing is said, and the mouth is as in the clip's most closed frame, but closed.

    Args:
        middle, share: place and length of the stretch over the clip's; it may reach beyond the clip.

    Filmed clips of speech hold few silences. Frames about either end of the stretch count in no loss.
    """
    features, shapes = features.clone(), shapes.clone()
    frames = len(shapes)
    margin = FEATURES_PER_FRAME * stored_margin(len(features), frames)
    first = round((middle - share / 2) * frames)
    last = first + round(share * frames)
    closed = shapes[shapes[:, _MIDDLE].nan_to_num(nan=torch.inf).argmin()].clone()
    closed[:LIP_GAPS] = 0
    low = 0 if first <= 0 else margin + FEATURES_PER_FRAME * first
    high = len(features) if last >= frames else margin + FEATURES_PER_FRAME * last
    features[low:high] = MelEncoder.floor
    shapes[max(0, first - _BORDER) : last + _BORDER] = torch.nan
    # Where the silence goes on beyond the clip, there is no border.
    inner_first = first + _BORDER if first > 0 else 0
    inner_last = max(0, last - _BORDER) if last < frames else frames
    shapes[inner_first:inner_last] = closed
    return features, shapes


def at_tempo(features: Tensor, shapes: Tensor, factor: float) -> tuple[Tensor, Tensor]:
    """A clip played ``factor`` times as fast about its middle, at the length that it had.

    Faster: sound and mouth before its beginning and after its end are not known. Sound goes on as it was
    there, and the mouth, NaN, counts in no loss.
    """

    def played(values: Tensor) -> tuple[Tensor, Tensor]:
        last = len(values) - 1
        at = (torch.arange(last + 1) - last / 2) * factor + last / 2
        known = (at >= 0) & (at <= last)
        at = at.clamp(0, last)
        below = at.floor().long()
        share = (at - below)[:, None].to(values)
        return torch.lerp(values[below], values[(below + 1).clamp(max=last)], share), known

    (sound, _), (mouth, known) = played(features), played(shapes)
    return sound, torch.where(known[:, None], mouth, torch.nan)


class LipShapeStrategy:
    """Regression of mouth shapes from log-mel features, for the trainer of the stages."""

    def __init__(self, config: LipTrainingConfig, dataset: ShardDataset) -> None:
        """Raises UserError where the data are not those of the two commands that label speech."""
        self.config, self.dataset = config, dataset
        require_labelled(dataset, _COMMANDS, "a lip-shape predictor")
        for index in dataset.indices:
            if labelling_step(index) == PHONETICS and LIPS not in index.meta:
                raise UserError(
                    f"'{index.folder}' holds no lips: run `python -m common.phonetics.label` with "
                    "phonetics.lip_predictors."
                )
        require_filmed(dataset, "data.shards")
        self._bands = dataset.sample(0).cache["audio_features"].shape[1]
        if self._bands > _BANDS and config.lip_shapes.silence:
            raise UserError("A teacher's features of silence are not known: set lip_shapes.silence=0.")

    def build_model(self) -> nn.Module:
        settings = self.config.lip_shapes
        encoder = load_phonetics(settings.phonetics) if settings.phonetics else None
        predictor = LipShapePredictor(
            self._bands,
            dropout=settings.dropout,
            input_dropout=settings.input_dropout,
            phonetics=encoder.settings if encoder else None,
        )
        if encoder and predictor.phonetic_encoder:
            predictor.phonetic_encoder.load_state_dict(encoder.state_dict())
            predictor.phonetic_encoder.requires_grad_(settings.tune_phonetics)
        return predictor

    def collate(self) -> CollateClips:
        config = self.config
        return CollateClips(
            config.train.seed,
            config.speech_augment,
            config.geometry.clip_frames,
            config.lip_shapes.silence,
            config.lip_shapes.tempo,
        )

    def prepare(self, micro: LabelledClips, device: torch.device) -> LabelledClips:
        return LabelledClips(micro.draws, micro.features.to(device), micro.shapes.to(device))

    def loss(self, model: nn.Module, inputs: LabelledClips) -> SampleLosses:
        made = per_frame(model(inputs.features), inputs.shapes.shape[1])
        known = inputs.shapes.isfinite()
        wanted = torch.where(known, inputs.shapes, made.detach())
        count = known.sum(dim=(1, 2)).clamp_min(1)

        def distance(a: Tensor, b: Tensor) -> Tensor:
            errors = functional.smooth_l1_loss(a, b, reduction="none")
            return (errors * known[..., : a.shape[-1]]).sum(dim=(1, 2)) / count

        moved = distance(_centred(made), _centred(wanted))
        loss = moved + _SPREAD_WEIGHT * distance(made[..., :LIP_GAPS], wanted[..., :LIP_GAPS])
        agreement = _pearson(made[..., _MIDDLE].detach(), wanted[..., _MIDDLE])
        if weight := self.config.lip_shapes.correlation:
            moving = known.all(dim=2).all(dim=1) & (wanted[..., _MIDDLE].std(dim=1) > _LEAST_MOVEMENT)
            apart = torch.zeros_like(loss)
            # Chosen before the root is taken: of a flat curve its gradient is infinite.
            apart[moving] = 1 - _pearson(made[moving][..., _MIDDLE], wanted[moving][..., _MIDDLE])
            loss = loss + weight * apart
        return SampleLosses(loss, torch.zeros(len(loss)), {"opening_r": agreement})

    def identity(self) -> dict[str, Any]:
        settings = self.config.lip_shapes
        made_of = {"stage": "speech", "data": [index.meta for index in self.dataset.indices]}
        if settings.phonetics:
            made_of["phonetics"] = sampled_digest(sorted(Path(settings.phonetics).glob("*.safetensors")))
        return made_of

    def save_package(self, model: nn.Module, folder: Path) -> None:
        """The lip-shape predictor, calibrated on the training's clips."""
        assert isinstance(model, LipShapePredictor)
        predictor = deepcopy(model).eval()
        calibrate(predictor, self.dataset, self.config.lip_shapes.spread)
        with atomic_dir(folder) as temporary:
            save_predictor(predictor, temporary)


def _centred(values: Tensor) -> Tensor:
    return values - values.mean(dim=1, keepdim=True)


def _pearson(a: Tensor, b: Tensor) -> Tensor:
    """(B,) correlations over frames; NaN where a curve is flat."""
    a, b = _centred(a), _centred(b)
    return (a * b).sum(dim=1) / (a.square().sum(dim=1) * b.square().sum(dim=1)).sqrt()
