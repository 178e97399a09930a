"""What the trainer asks of a training task, and the flow-matching task that both stages are variants of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from common.data.batch import DubBatch
from common.diffusion.flow import FlowMatching
from common.errors import UserError
from common.models.transformer import DubbingTransformer
from common.training.conditioning import FlowInputs, flow_inputs
from common.training.config import CLIP, FlowTrainingConfig
from common.training.flops import Cost, model_cost
from common.training.lip_window import lip_window
from common.training.loading import Assemble, MicroBatch, SampleEncoder
from common.training.losses import (
    loss_mask,
    masked_flow_loss,
    noise_weights,
    region_weights,
    weighted_flow_loss,
)
from common.training.pixel.clip import GivenConditions
from common.training.pixel.decoded import DecodedFrameLosses, one_step_estimate
from common.training.speech_transform import SpeechTransform
from common.training.start import StartingPoint


@dataclass(frozen=True)
class SampleLosses:
    """Losses of B samples, not reduced, with what the trainer sorts them by."""

    loss: Tensor
    """(B,): what is minimised."""
    sigma: Tensor
    """(B,) noise levels in [0, 1]."""
    parts: Mapping[str, Tensor] = field(default_factory=dict)
    """Further values (B,) to be logged, detached; NaN where a sample has no such value."""


class Strategy(Protocol):
    """A training task. The trainer knows nothing of models, conditions or losses beyond this.

    One that also has ``cost(model, inputs) -> Cost | None`` gets its tokens per second and MFU logged.
    """

    def build_model(self) -> nn.Module:
        """The model, with ``requires_grad`` set on exactly the parameters that are trained."""
        ...

    def collate(self) -> Any:
        """Collate function of the loader: list of (Draw, Sample) -> micro-batch. Must be picklable."""
        ...

    def prepare(self, micro: Any, device: torch.device) -> Any:
        """Inputs of one forward pass, on ``device``. All randomness comes from the micro-batch's draws."""
        ...

    def loss(self, model: nn.Module, inputs: Any) -> SampleLosses:
        """One forward pass."""
        ...

    def identity(self) -> dict[str, Any]:
        """What a checkpoint must agree with to be continued."""
        ...

    def save_package(self, model: nn.Module, folder: Path) -> None:
        """Write the model package for inference (whole or not at all)."""
        ...


@runtime_checkable
class Alternating(Protocol):
    """What a strategy adds whose model has parts that are trained in turn, one of them for the package.

    A step's loss must depend on the part that it trains alone: the other parts then have no gradient, and
    optimisers leave them and their state as they are.
    """

    def is_packaged(self, name: str) -> bool:
        """Whether the parameter of this name is of the part that the package holds, which alone is
        averaged."""
        ...

    def trains_packaged(self, step: int) -> bool:
        """Whether optimiser step ``step`` (from 0) trains that part."""
        ...

    def rate_at(self, step: int) -> float:
        """Times ``train.learning_rate``, for the part that it trains."""
        ...


@runtime_checkable
class Scaled(Protocol):
    """What a strategy adds whose parameters learn at different rates."""

    def rate_scale(self, name: str) -> float:
        """Times the rate of the schedule, for the parameter of this name."""
        ...


class FlowStrategy(ABC):
    """Flow matching on latents with face and lip weights; subclasses say what the model is conditioned on."""

    start: StartingPoint
    speech_fingerprint: str

    def __init__(
        self,
        config: FlowTrainingConfig,
        text: Tensor | None = None,
        encoder: SampleEncoder | None = None,
        decoded_losses: DecodedFrameLosses | None = None,
        speech_transform: SpeechTransform | None = None,
    ) -> None:
        """Set up what all such tasks have.

        Args:
            config: of the run.
            text: (1, L, text_dim), the constant text states of models with text attention.
            encoder: of samples without cached latents.
            decoded_losses: losses on decoded frames, where the phase has any.
            speech_transform: changes of the speech features; None: none.

        Raises:
            UserError: losses on decoded frames, which need the whole picture, with ``train.lip_window``.
        """
        if decoded_losses is not None and config.train.lip_window:
            raise UserError(
                "train.lip_window is set, but this phase has losses on decoded frames, which need the whole "
                "picture: set train.lip_window=[]."
            )
        self.train, self.geometry = config.train, config.geometry
        self.flow = FlowMatching(config.diffusion.shift, config.diffusion.timestep_a)
        self.extra_window, self.patch_size = config.speech.extra_window, tuple(config.model.patch_size)
        self.text, self.encoder = text, encoder
        self.decoded_losses, self.speech_transform = decoded_losses, speech_transform

    @abstractmethod
    def build_model(self) -> nn.Module: ...

    @abstractmethod
    def identity(self) -> dict[str, Any]: ...

    @abstractmethod
    def save_package(self, model: nn.Module, folder: Path) -> None: ...

    @abstractmethod
    def choose_conditions(self, batch: DubBatch, micro: MicroBatch) -> DubBatch:
        """The batch with the conditions of this stage chosen, before any is dropped."""

    def collate(self) -> Assemble:
        return Assemble(self.geometry.clip_frames, self.extra_window, self.speech_transform)

    def batch(self, micro: MicroBatch, device: torch.device) -> DubBatch:
        """The micro-batch with all its conditions, on ``device``."""
        batch = micro.batch
        if batch is None:
            assert self.encoder is not None, "uncached samples need an encoder"
            batch = self.encoder.batch(micro)
        return self.choose_conditions(batch.to(device, non_blocking=True), micro)

    def prepare(self, micro: MicroBatch, device: torch.device) -> FlowInputs:
        batch = self.batch(micro, device)
        motion = self.geometry.motion_latents
        inputs = flow_inputs(batch, micro.draws, self.train, self.flow, motion, self.text)
        if self.decoded_losses is None:
            return lip_window(inputs, micro.draws, self.train, self.patch_size)
        start = self.decoded_losses.draw_start(micro.draws, inputs.noisy.shape[2])
        return replace(inputs, decoded_from=start)

    def dubber(self, wrapped: Any, model: nn.Module) -> tuple[Any, nn.Module]:
        """What samples are made with: the callable, and the transformer that has the adapters."""
        return wrapped, model

    def cost(self, model: nn.Module, inputs: FlowInputs) -> Cost | None:
        """What forward and backward of the transformer cost; None for models of another kind."""
        return model_cost(model, inputs) if isinstance(model, DubbingTransformer) else None

    def velocity(self, model: nn.Module, inputs: FlowInputs) -> Tensor:
        """(B, C, F, h, w): what the model predicts."""
        timestep = self.flow.model_timestep(inputs.sigma)
        velocity: Tensor = model(latents=inputs.noisy, timestep=timestep, conditions=inputs.conditions)
        return velocity

    def _flow_loss(self, velocity: Tensor, inputs: FlowInputs) -> Tensor:
        """(B,) squared errors of the velocity, of all the clip or of ``train.loss_region``."""
        batch, train = inputs.batch, self.train
        if train.loss_region != CLIP:
            mask = loss_mask(batch, train.loss_region)
            return masked_flow_loss(velocity, inputs.velocity, mask, inputs.clean_frames)
        weights = region_weights(batch.face_mask, batch.lip_mask, train.face_weight, train.lip_weight)
        return weighted_flow_loss(velocity, inputs.velocity, weights, inputs.clean_frames)

    def loss(self, model: nn.Module, inputs: FlowInputs) -> SampleLosses:
        batch = inputs.batch
        velocity = self.velocity(model, inputs)
        loss = self._flow_loss(velocity, inputs)
        loss = loss * noise_weights(inputs.sigma, self.train.loss_of).to(loss)
        if self.decoded_losses is None or inputs.decoded_from is None:
            return SampleLosses(loss, inputs.sigma)
        estimate = one_step_estimate(
            batch.target_latents, inputs.velocity, velocity.float(), inputs.sigma, inputs.clean_frames
        )
        given = GivenConditions(inputs.has_audio, inputs.has_reference)
        decoded = self.decoded_losses(estimate, batch, given, inputs.decoded_from)
        parts = {"flow": loss.detach(), **{name: one.logged for name, one in decoded.items()}}
        total = torch.stack([loss, *(one.losses for one in decoded.values())]).sum(dim=0)
        return SampleLosses(total, inputs.sigma, parts)
