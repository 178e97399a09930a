"""What a training of LTX-2 will need, counted without weights: memory per GPU and hours."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.transformers.transformer_ltx2 import LTX2VideoTransformer3DModel
from torch import nn
from torch._subclasses.fake_tensor import unset_fake_temporarily

from common.counted_run import training_flops, training_peak, without_numbers
from common.data.index import read_index
from common.models.ltx2.config import JointModelConfig
from common.models.ltx2.conventions import JointConventions
from common.models.ltx2.inputs import ClipParts
from common.models.ltx2.positions import JointClip
from common.models.ltx2.prompts import MAX_TOKENS, prompt_widths
from common.models.ltx2.roles import PromptStates
from common.models.ltx2.transformer import JointTransformer
from common.training.estimate import ASSUMED_MFU, BF16, FP32, GpuMemory, gib
from common.training.layout import ProcessLayout
from common.training.peak import DATA_SHEET, MEMORY_GIB
from stage2_dubber.joint.config import JointTrainingConfig, TargetAudio
from stage2_dubber.joint.model import add_lora


@dataclass(frozen=True)
class JointRun:
    """A training of LTX-2 on ``world`` processes.

    Attributes:
        parameters, trained: of the model with its adapter.
        block: parameters of a block.
        flops: of one window, forward and backward, without what checkpointing computes again.
        activations: bytes that one micro-batch holds at the worst moment.
    """

    config: JointTrainingConfig
    world: int
    parameters: int
    trained: int
    block: int
    flops: float
    activations: float

    def hours(self, device: str) -> float:
        """Of the whole schedule: operations over (world x data sheet's peak x MFU)."""
        train = self.config.train
        rate = self.world * DATA_SHEET[device.upper()] * ASSUMED_MFU
        return train.max_steps * train.global_batch_size * self.flops / rate / 3600

    def memory(self, sharding: str) -> GpuMemory:
        """Bytes per GPU with "ddp" or "fsdp2"."""
        train = self.config.train
        half = train.mixed_precision != "float32"
        sharded = sharding == "fsdp2"
        share = self.world if sharded else 1
        frozen = self.parameters - self.trained
        narrow = BF16 if half and not sharded and self.config.joint.lora_rank else FP32
        parts = {
            "weights": (narrow * frozen + FP32 * self.trained) / share,
            "gradients": FP32 * self.trained / share,
            "optimizer": (2 if train.optimizer == "adamw" else 1) * FP32 * self.trained / share,
        }
        if train.ema_decay:
            parts["average"] = FP32 * self.trained / share
        if sharded:
            parts["gathered blocks"] = (2 * (BF16 if half else FP32) + FP32) * self.block
        elif self.world > 1:
            parts["ddp buckets"] = FP32 * self.trained
        if half and not sharded:
            # Autocast keeps what it has cast for the length of a forward pass.
            parts["bf16 copies"] = BF16 * self.trained
        parts["activations"] = self.activations
        return GpuMemory(parts)


def count_run(config: JointTrainingConfig, world: int) -> JointRun:
    """Count a training. Models of few blocks are run without numbers: blocks are all alike.

    Raises:
        UserError: a target of the LoRA names no layer, or the clips are none of LTX-2.
    """
    layers = config.model.layers
    with torch.device("meta"):
        whole = _prepared(config, layers)
        block = sum(value.numel() for value in whole.transformer_blocks[0].parameters())
        parameters, trained = _count(whole)
    one, two = (_pass_flops(config, count) for count in (1, 2))
    flops = one + (layers - 1) * (two - one)
    # With checkpointing the worst moment of a single block lies elsewhere.
    least, more = (_pass_peak(config, count) for count in (2, 3))
    held = least + (layers - 2) * (more - least)
    batch = config.train.micro_batch_size
    return JointRun(config, world, parameters, trained, block, flops / batch, held)


def describe_joint(config: JointTrainingConfig, world: int) -> str:
    """The table of ``--dry-run``.

    Raises:
        UserError: as :func:`count_run`, or the batch does not divide, or shards cannot be read.
    """
    run, train = count_run(config, world), config.train
    clip = _clip(config)
    tokens = clip.grid[0] * clip.grid[1] * clip.grid[2]
    passes = ProcessLayout(world).accumulation(train.global_batch_size, train.micro_batch_size)
    seen = f"{tokens:,} of the target"
    if config.joint.reference:
        seen += f" and {tokens:,} of the reference"
    windows = train.max_steps * train.global_batch_size
    batch = f"{train.global_batch_size} = {train.micro_batch_size} micro x {passes} x {world} world"
    rows = [
        ("clip", f"{clip.frames} frames of {clip.width}x{clip.height} px at {clip.fps:g} fps"),
        ("task", config.joint.summary),
        ("tokens", f"{seen}, {clip.audio_tokens} of sound"),
        ("parameters", f"{run.parameters:,} ({run.trained:,} trained)"),
        ("global batch", batch),
        ("training", f"{train.max_steps:,} steps, {windows:,} windows seen"),
        ("compute per window", f"{run.flops / 1e12:,.3g} TFLOP"),
    ]
    if config.data.shards:
        count = sum(read_index(path).num_samples for path in config.data.shards)
        rows.insert(0, ("data", f"{count:,} windows"))
    if train.mixed_precision != "float32":
        for device in MEMORY_GIB:
            hours = run.hours(device)
            each = 3600 * hours / train.max_steps
            speed = f"{ASSUMED_MFU:.0%} of {DATA_SHEET[device.upper()] / 1e12:.0f} TFLOP/s"
            rows.append(
                (f"time on {world} x {device}", f"{each:,.3g} s per step, {hours:,.3g} h in all (at {speed})")
            )
    for sharding in ("ddp", "fsdp2"):
        memory = run.memory(sharding)
        parts = ", ".join(f"{name} {gib(value)}" for name, value in memory.parts.items())
        fitting = [name for name in MEMORY_GIB if memory.fits(name)]
        here = " (train.sharding)" if sharding == train.sharding else ""
        rows.append(
            (
                f"memory per GPU, {sharding}",
                f"{gib(memory.total)} GiB: {parts}; fits {', '.join(fitting) or 'none'}{here}",
            )
        )
    width = max(len(label) for label, _ in rows)
    return "\n".join(f"{label:<{width}}  {value}" for label, value in rows)


def _clip(config: JointTrainingConfig) -> JointClip:
    geometry = config.geometry
    return JointClip(geometry.clip_frames, geometry.crop_size, geometry.crop_size, geometry.fps)


def _prepared(config: JointTrainingConfig, layers: int) -> Any:
    size = JointModelConfig(**{**vars(config.model), "layers": layers})
    model = LTX2VideoTransformer3DModel(**size.arguments())
    if config.joint.lora_rank:
        add_lora(model, config.joint)
    return model


def _hollow(model: nn.Module, frozen: torch.dtype) -> None:
    """Give the tensors of a model on the meta device a device, within :func:`without_numbers`."""
    for module in model.modules():
        for name, value in module.named_parameters(recurse=False):
            dtype = torch.float32 if value.requires_grad else frozen
            made = nn.Parameter(torch.empty(value.shape, dtype=dtype), requires_grad=value.requires_grad)
            module.register_parameter(name, made)
        for name, buffer in module.named_buffers(recurse=False):
            module.register_buffer(name, torch.empty(buffer.shape, dtype=buffer.dtype))


def _count(model: nn.Module) -> tuple[int, int]:
    values = list(model.parameters())
    return sum(v.numel() for v in values), sum(v.numel() for v in values if v.requires_grad)


def _pass_flops(config: JointTrainingConfig, layers: int) -> float:
    """Operations of a micro-batch, without those that checkpointing does again."""
    with without_numbers():
        _, loss = _loss(config, layers, checkpointing=False)
        return training_flops(loss)


def _pass_peak(config: JointTrainingConfig, layers: int) -> int:
    """Bytes that a micro-batch holds besides weights, at the worst moment."""
    with without_numbers():
        weights, loss = _loss(config, layers, config.train.gradient_checkpointing)
        return training_peak(loss, weights)


def _loss(
    config: JointTrainingConfig, layers: int, checkpointing: bool
) -> tuple[list[torch.Tensor], Callable[[], torch.Tensor]]:
    """A model of so many blocks: its tensors, and what computes a loss with it."""
    task, batch, clip = config.joint, config.train.micro_batch_size, _clip(config)
    half = config.train.mixed_precision != "float32"
    with torch.device("meta"), unset_fake_temporarily():
        # peft moves adapters to their layers, which tensors without numbers do not let it do.
        plain = _prepared(config, layers)
    _hollow(plain, torch.bfloat16 if half and task.lora_rank else torch.float32)
    if checkpointing:
        plain.enable_gradient_checkpointing()
    model = JointTransformer(plain, JointConventions(mask=task.mask))
    widths = prompt_widths(plain.config)
    prompt = PromptStates(*(torch.empty(batch, MAX_TOKENS, width) for width in widths))
    video = torch.empty(batch, config.model.latent_channels, *clip.grid)
    sound = torch.empty(batch, clip.audio_tokens, config.model.audio_channels)
    parts = ClipParts(
        clip,
        video,
        0,
        sound,
        task.audio is TargetAudio.given,
        video if task.reference else None,
        sound if task.reference_audio else None,
    )

    def loss() -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16) if half else nullcontext():
            made = model(parts.inputs(model, prompt, torch.ones(batch)))
        return made.video.float().square().mean() + made.audio.float().square().mean()

    return [*model.parameters(), *model.buffers()], loss
