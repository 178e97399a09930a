"""Training of LTX-2 to dub: the companion is the reference, the real clip the target (JUST-DUB-IT)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common.data.dataset import ShardDataset
from common.data.schema import Sample
from common.errors import UserError
from common.models.ltx2.inputs import CellWindow, ClipParts, pack_video
from common.models.ltx2.positions import JointClip
from common.models.ltx2.prompts import StoredPrompts, read_prompts
from common.models.ltx2.roles import JointInputs, PromptStates
from common.models.ltx2.transformer import JointTransformer
from common.training.draws import Draw, is_chosen
from common.training.joint_loss import joint_weights, masked_velocity_loss
from common.training.lip_window import window_offset
from common.training.loading import check_encoders
from common.training.strategy import SampleLosses
from stage2_dubber.joint.config import JointTrainingConfig, NoiseLevels, TargetAudio
from stage2_dubber.joint.model import JointStart, audio_branch, load_joint_start, starting_transformer
from stage2_dubber.joint.noise import draw_noise
from stage2_dubber.joint.result import save_lora_package, save_model_package
from stage2_dubber.joint.tokens import JointBatch, shard_marks, stack


@dataclass(frozen=True)
class JointMicro:
    """What a loader worker hands over."""

    draws: tuple[Draw, ...]
    batch: JointBatch

    def __len__(self) -> int:
        return len(self.draws)


@dataclass(frozen=True)
class TrainingInputs:
    """B windows at their noise levels.

    Attributes:
        parts, inputs: what the model gets.
        sigma: (B,).
        velocity, audio_velocity: (B, N, C) and (B, L, channels), what it shall predict.
        weights: (B, N) of the video tokens in the loss.
    """

    parts: ClipParts
    inputs: JointInputs
    sigma: Tensor
    velocity: Tensor
    audio_velocity: Tensor
    weights: Tensor


def collate(items: Sequence[tuple[Draw, Sample]], captions: bool = False) -> JointMicro:
    """Runs in the loader's workers."""
    return JointMicro(tuple(draw for draw, _ in items), stack([sample for _, sample in items], captions))


class JointStrategy:
    """A training of LTX-2: of an in-context LoRA, or of all parameters."""

    def __init__(self, config: JointTrainingConfig, dataset: ShardDataset) -> None:
        """Raises UserError where data, starting package and configuration do not fit each other."""
        self.config = config
        self.start: JointStart = load_joint_start(config)
        marks = shard_marks(self.start.opened)
        check_encoders(dataset, marks["vae"], marks["speech"])
        self.marks = marks
        self._prompts: StoredPrompts = read_prompts(self.start.prompt_file, self.start.model_config)
        side, geometry = config.geometry.crop_size, config.geometry
        self.clip = JointClip(geometry.clip_frames, side, side, geometry.fps)
        self._model: JointTransformer | None = None
        first = stack([dataset.sample(0)], config.joint.captions)
        self._reference_audio(first)
        if first.target.shape[2:] != self.clip.grid:
            raise UserError(
                f"The windows of data.shards have {tuple(first.target.shape[2:])} latents, the configuration "
                f"asks for {self.clip.grid}: encode the pairs for this package."
            )
        if config.train.lip_window and self.start.opened.settings.conventions.reference_downscale != 1:
            raise UserError(
                "train.lip_window needs references of full size, and this package has smaller ones: set []."
            )

    def build_model(self) -> nn.Module:
        self._model = starting_transformer(self.start, self.config)
        return self._model

    def collate(self) -> Any:
        return partial(collate, captions=self.config.joint.captions)

    def prepare(self, micro: JointMicro, device: torch.device) -> TrainingInputs:
        """Noise levels, noise, and who sees whom.

        Whether the first frame is given is decided by step, so that all windows of a batch have like tokens.
        """
        config, task = self.config, self.config.joint
        batch = micro.batch.to(device)
        apart = task.noise is NoiseLevels.apart
        drawn = [
            draw_noise(draw, config.train.seed, batch.target.shape[1:], batch.audio.shape[1:], apart)
            for draw in micro.draws
        ]
        sigma = torch.tensor([one.sigma for one in drawn], device=device)
        audio_sigma = torch.tensor([one.audio_sigma for one in drawn], device=device)
        noise = torch.stack([one.video for one in drawn]).to(device)
        window = self._window(batch, micro.draws[0].step)
        if window is not None:
            batch, noise = batch.within(window), window.cut(noise)
        audio_noise = torch.stack([one.audio for one in drawn]).to(device)
        given = int(is_chosen(micro.draws[0].step, task.first_frame, config.train.seed, "first frame"))
        video = _noised(batch.target, noise, sigma)
        video[:, :, :given] = batch.target[:, :, :given]
        audio_given = task.audio is TargetAudio.given
        parts = ClipParts(
            clip=self.clip,
            video=video,
            given=given,
            audio=batch.audio if audio_given else _noised(batch.audio, audio_noise, audio_sigma),
            audio_given=audio_given,
            reference=batch.source if task.reference else None,
            reference_audio=self._reference_audio(batch),
            window=window,
        )
        assert self._model is not None
        return TrainingInputs(
            parts=parts,
            inputs=parts.inputs(self._model, self._prompt(batch), sigma, audio_sigma),
            sigma=sigma,
            velocity=pack_video(noise - batch.target),
            audio_velocity=audio_noise - batch.audio,
            weights=self._weights(batch, given),
        )

    def loss(self, model: nn.Module, inputs: TrainingInputs) -> SampleLosses:
        predicted = inputs.parts.of_target(model(inputs.inputs))
        video = masked_velocity_loss(predicted.video, inputs.velocity, inputs.weights)
        if inputs.parts.audio_given:
            # DDP waits for a gradient of every trained layer, and those after the last attention between the
            # modalities have none where the sound is not predicted.
            return SampleLosses(video + 0 * predicted.audio.float().mean(dim=(1, 2)), inputs.sigma)
        even = torch.ones_like(predicted.audio[:, :, 0], dtype=torch.float32)
        audio = masked_velocity_loss(predicted.audio, inputs.audio_velocity, even)
        parts = {"video": video.detach(), "audio": audio.detach()}
        return SampleLosses(video + audio, inputs.sigma, parts)

    def rate_scale(self, name: str) -> float:
        """Times ``train.learning_rate``, for the parameter of this name."""
        train = self.config.train
        slower = self.config.joint.lora_rank and audio_branch(name)
        return train.audio_learning_rate / train.learning_rate if slower else 1.0

    def identity(self) -> dict[str, Any]:
        task = asdict(self.config.joint)
        for name in ("first_frame", "rest_weight", "lip_weight"):
            task.pop(name)  # how, not what: may change from one run to the next
        if not task["captions"]:
            task.pop("captions")  # as runs had it before there were any
        return {
            "task": "LTX-2",
            "joint": {**task, "audio": self.config.joint.audio.value, "mask": self.config.joint.mask.value},
            "model": asdict(self.config.model),
            "geometry": asdict(self.config.geometry),
            "init_from": self.start.fingerprint,
            **self.marks,
        }

    def save_package(self, model: nn.Module, folder: Path) -> None:
        assert isinstance(model, JointTransformer)
        save = save_lora_package if self.config.joint.lora_rank else save_model_package
        save(model, self.start, self.config, folder)

    def _window(self, batch: JointBatch, step: int) -> CellWindow | None:
        """Around the lips of a micro-batch; None: it sees the whole picture."""
        train = self.config.train
        if not train.lip_window or not is_chosen(step, train.lip_window_share, train.seed, "lip window"):
            return None
        place = window_offset(batch.lips, train.lip_window, (1, 1, 1))
        starts = zip((place.top, place.left), train.lip_window, strict=True)
        return CellWindow(*(slice(start, start + count) for start, count in starts))

    def _prompt(self, batch: JointBatch) -> PromptStates:
        if batch.prompt is not None:
            return batch.prompt
        count, states = len(batch.keys), self._prompts.positive.to(batch.target.device)
        return PromptStates(states.video.expand(count, -1, -1), states.audio.expand(count, -1, -1))

    def _reference_audio(self, batch: JointBatch) -> Tensor | None:
        if not self.config.joint.reference_audio:
            return None
        if batch.source_audio is None:
            raise UserError(
                f"The sample {batch.keys[0]} does not say what its source sounds like: set "
                "joint.reference_audio=false, or name pairs that have source_audio."
            )
        return batch.source_audio

    def _weights(self, batch: JointBatch, given: int) -> Tensor:
        task = self.config.joint
        is_given = torch.zeros_like(batch.face, dtype=torch.bool)
        is_given[:, :given] = True
        weights = joint_weights(batch.face.flatten(1), is_given.flatten(1), task.rest_weight)
        return weights * (1 + task.lip_weight * batch.lips.flatten(1))


def _noised(clean: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    level = sigma.view(-1, *[1] * (clean.ndim - 1))
    return (1 - level) * clean + level * noise
