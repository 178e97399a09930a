"""What a training will need: memory per GPU and hours, by formula, for a machine that is not at hand.

Bytes are those of the tensors; the allocator, the CUDA context and communication want about a tenth more. The
formulas follow what the trainer does: float32 weights and optimiser, bfloat16 arithmetic under autocast.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch

from common.diffusion.branches import forward_bytes
from common.models.config import ADAIN
from common.training.config import Company, FlowTrainingConfig
from common.training.flops import Adapters, Cost, Shape, linear_layers, token_counts, training_cost
from common.training.peak import DATA_SHEET, MEMORY_GIB

FP32, BF16 = 4, 2
ASSUMED_MFU = 0.40
USABLE = 0.90
GIB = 2**30
# Latent frames that a pixel loss decodes: the four of phase.decoded_latents and the one before.
_DECODED_LATENTS = 5
# Feature maps that autograd keeps per residual block of the autoencoder's decoder: inputs and outputs of two
# norms, two activations and two convolutions, the latter once more with their padding (measured: 12.6 to 15).
_KEPT_MAPS = 14
# Frames of feature maps that the causal convolutions of a residual block carry on: two by each of its two.
_CARRIED_FRAMES = 4


@dataclass(frozen=True)
class GpuMemory:
    """Bytes per GPU by what they hold."""

    parts: Mapping[str, float]

    @property
    def total(self) -> float:
        return sum(self.parts.values())

    def fits(self, device: str) -> bool:
        return self.total <= USABLE * MEMORY_GIB[device] * GIB


@dataclass(frozen=True)
class Run:
    """A configured training.

    parameters: of the transformer, without the adapter that the training adds. decoder: parameters of the
    autoencoder, which has to be there for losses on decoded frames; 0: not known, left out. company: what
    else there is; a discriminator's share, below a thousandth, is left out.
    """

    config: FlowTrainingConfig
    parameters: int
    reference_frames: int
    world: int
    decoder: int = 0
    company: Company = field(default_factory=Company)

    @property
    def adapters(self) -> Adapters | None:
        return Adapters(*self.config.adapter) if self.config.adapter else None

    @property
    def shape(self) -> Shape:
        """Of one micro-batch."""
        geometry, side = self.config.geometry, self._side
        window = 8 + 2 * self.config.speech.extra_window
        frames, batch = geometry.latent_frames, self.config.train.micro_batch_size
        return Shape(batch, frames, side, side, self.reference_frames, window)

    @property
    def _side(self) -> int:
        return self.config.geometry.crop_size // self.config.vae.scale_factor_spatial

    @property
    def added(self) -> int:
        """Parameters of the adapter that is trained: rank x (inputs + outputs) of each layer it changes."""
        adapters = self.adapters
        if adapters is None:
            return 0
        layers = linear_layers(self.config.model, self.shape)
        changed = [layer for name, layer in layers.items() if adapters.changes(name)]
        return adapters.rank * sum(layer.inputs + layer.outputs for layer in changed)

    @property
    def trained(self) -> int:
        return self.added if self.adapters is not None else self.parameters

    def cost(self) -> Cost:
        """Of one optimiser step, all processes together."""
        one = training_cost(self.config.model, self.shape, self.adapters)
        passes = self.config.train.global_batch_size // self.config.train.micro_batch_size
        forward = (1 + self.company.forwards) * one.forward
        return Cost(passes * one.tokens, passes * forward, passes * one.backward)

    def hours(self, device: str, mfu: float = ASSUMED_MFU) -> float:
        """Of the whole schedule on ``world`` such GPUs: operations over (world x data sheet's peak x MFU)."""
        rate = self.world * DATA_SHEET[device.upper()] * mfu
        return self.config.train.max_steps * self.cost().flops / rate / 3600

    def memory(self, sharding: str, checkpointing: bool) -> GpuMemory:
        """Bytes per GPU with "ddp" (all of it everywhere) or "fsdp2" (parameter state in ``world`` parts)."""
        train = self.config.train
        sharded = sharding == "fsdp2"
        share = self.world if sharded else 1
        half = train.mixed_precision != "float32"
        company = self.company
        trained = company.networks * self.trained
        every = company.copies * self.parameters + company.networks * self.added
        parts = {
            "weights": FP32 * every / share,
            "gradients": FP32 * trained / share,
            "optimizer": self._optimizer_bytes(trained) / share,
        }
        if train.ema_decay:
            parts["average"] = FP32 * self.trained / share  # of what the package will hold
        if sharded:
            # Whole in turn: the block at work and the next one in the dtype of arithmetic, one gradient.
            parts["gathered blocks"] = (2 * (BF16 if half else FP32) + FP32) * self._block_parameters()
        else:
            if half:
                # Autocast keeps what it has cast for the length of a forward pass.
                parts["bf16 copies"] = BF16 * every
            if self.world > 1:
                # DDP exchanges gradients through buffers of the same size.
                parts["ddp buckets"] = FP32 * trained
        if company.narrow:
            parts["teacher"] = (BF16 if half else FP32) * company.narrow * self.parameters
        parts["activations"] = self.activation_bytes(checkpointing)
        if company.at_once > 1:
            # While those of the trained network are kept.
            parts["guidance"] = company.at_once * self.forward_bytes()
        if self.config.decodes_frames:
            if self.decoder:
                parts["autoencoder"] = FP32 * self.decoder
            parts["decoding"] = decode_bytes(
                self.config.vae, self._side, train.micro_batch_size, BF16 if half else FP32, checkpointing
            )
        return GpuMemory(parts)

    def activation_bytes(self, checkpointing: bool) -> float:
        """What autograd keeps of one micro-batch: of all blocks, or their inputs and one block's rest."""
        layers = self.config.model.num_layers
        block = self.block_bytes()
        if not checkpointing:
            return layers * block
        reference, target = token_counts(self.config.model, self.shape)
        tokens = self.shape.batch * (reference + target)
        return layers * FP32 * tokens * self.config.model.dim + block

    def forward_bytes(self) -> float:
        """Upper estimate of what a forward pass of one micro-batch without gradients holds."""
        narrow = self.config.train.mixed_precision != "float32"
        weight = torch.empty(0, dtype=torch.bfloat16 if narrow else torch.float32)
        stub = SimpleNamespace(config=self.config.model, patch_embedding=SimpleNamespace(weight=weight))
        shape = self.shape
        latents = (shape.batch, self.config.model.latent_channels, shape.frames, shape.height, shape.width)
        return forward_bytes(stub, latents, shape.reference_frames)

    def block_bytes(self) -> float:
        """Tensors that autograd keeps of one block, of one micro-batch.

        N tokens in all and T of the target, of width d; FFN of width f; the residual stream is fp32 (r
        bytes), the arithmetic c bytes wide. Adapters' own are left out.

        - r N d, seven times: the block's input, queries and keys before their norms, the attention's update,
          what enters the cross-attentions, what enters the FFN, the FFN's update
        - r T d, six times: the audio attention's queries before their norm, the input of its norm, pieces of
          the modulated norms
        - c N d, six times: both modulated inputs, queries, keys, values, attention output
        - c T d, three times: the audio attention's input, queries, output
        - c N f, twice: before and after the activation
        - text attention adds three r T d and three c T d
        - AdaIN in the place of the audio attention: two r T d instead of one, of the tokens that are
          normalised, and no c T d
        - several samples with different noise levels: two r T d more, the norms before modulation
        """
        model, shape = self.config.model, self.shape
        wide, narrow = FP32, FP32 if self.config.train.mixed_precision == "float32" else BF16
        reference, target = token_counts(model, shape)
        tokens = reference + target
        text = 3 if model.text_tokens else 0
        several = 2 if shape.batch > 1 else 0
        speech = (2, 0) if model.speech_injection == ADAIN else (1, 3)
        of_all = (7 * wide + 6 * narrow) * tokens * model.dim + 2 * narrow * tokens * model.ffn_dim
        of_target = (
            ((5 + speech[0] + text + several) * wide + (speech[1] + text) * narrow) * target * model.dim
        )
        return float(shape.batch * (of_all + of_target))

    def _optimizer_bytes(self, trained: int) -> float:
        # AdamW: two fp32 moments. Muon: one momentum of the matrices, which are nearly everything.
        return (2 if self.config.train.optimizer == "adamw" else 1) * FP32 * trained

    def _block_parameters(self) -> int:
        layers = linear_layers(self.config.model, self.shape)
        return sum(a.inputs * a.outputs for name, a in layers.items() if name.startswith("blocks.0."))


def decode_bytes(
    vae: Any, side: int, samples: int = 1, width: int = FP32, checkpointing: bool = False
) -> float:
    """What autograd keeps of decoding latents of ``samples``, side x side cells.

    The decoder has a middle of two residual blocks, then levels of ``num_res_blocks`` + 1; every level but
    the last doubles the picture, and time where the encoder halves it. Values are ``width`` bytes wide.

    With ``checkpointing`` (common/autoencoder/checkpointing.py) only what the causal convolutions carry from
    one latent frame to the next is kept of each sample, and the feature maps of one latent frame at a time.
    """
    widths = [vae.decoder_base_dim * factor for factor in reversed(vae.dim_mult)]
    longer = list(reversed(vae.temperal_downsample))
    frames, area = _DECODED_LATENTS, 2.0 * widths[0] * side * side
    values, carried = area * frames, area
    for level, channels in enumerate(widths):
        area = (vae.num_res_blocks + 1) * channels * float(side * side)
        values, carried = values + area * frames, carried + area
        if level < len(widths) - 1:
            side *= 2
            frames = 2 * frames - 1 if longer[level] else frames
    whole = _KEPT_MAPS * values
    if not checkpointing:
        return width * whole * samples
    return width * (_CARRIED_FRAMES * _DECODED_LATENTS * carried * samples + whole / _DECODED_LATENTS)


def estimate_rows(run: Run) -> list[tuple[str, str]]:
    """Rows for ``--dry-run``."""
    train, cost = run.config.train, run.cost()
    chosen = run.config.model.gradient_checkpointing
    rows = [
        (
            "compute per step",
            f"{cost.flops / 1e15:,.3g} PFLOP (forward {cost.forward / 1e15:,.3g}, backward "
            f"{cost.backward / 1e15:,.3g}), {cost.tokens:,} tokens",
        )
    ]
    if train.mixed_precision != "float32":
        for device in MEMORY_GIB:
            hours = run.hours(device)
            each = 3600 * hours / train.max_steps
            rows.append(
                (
                    f"time on {run.world} x {device}",
                    f"{each:,.3g} s per step, {hours:,.3g} h in all, {hours * run.world:,.3g} GPU hours "
                    f"(at {ASSUMED_MFU:.0%} of {DATA_SHEET[device.upper()] / 1e12:.0f} TFLOP/s)",
                )
            )
    for sharding in ("ddp", "fsdp2"):
        memory = run.memory(sharding, chosen)
        parts = ", ".join(f"{name} {gib(value)}" for name, value in memory.parts.items())
        other = run.activation_bytes(not chosen)
        word = "without" if chosen else "with"
        devices = [name for name in MEMORY_GIB if memory.fits(name)]
        here = " (train.sharding)" if sharding == train.sharding else ""
        rows.append(
            (
                f"memory per GPU, {sharding}",
                f"{gib(memory.total)} GiB: {parts} ({gib(other)} {word} checkpointing); "
                f"fits {', '.join(devices) or 'none'}{here}",
            )
        )
    return rows


def gib(value: float) -> str:
    """Bytes in GiB, for people."""
    size = value / GIB
    return f"{size:.1f}" if size >= 0.1 else f"{size:.1g}" if size and math.isfinite(size) else "0"
