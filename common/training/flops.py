"""Floating-point operations of one training step of the dubbing transformer, from its geometry.

Counted is useful work: matrix products (2 m n k each) of forward and backward. Norms, activations and
rotations are left out (below a percent), and so is what gradient checkpointing computes a second time: a
faster way to the same gradient shall show as a higher utilisation. Losses on decoded frames are not counted.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from common.models.config import ADAIN
from common.speech.windows import BASE_WINDOW

if TYPE_CHECKING:
    from torch import nn

    from common.training.conditioning import FlowInputs

# Layers whose input is data: nothing asks for a gradient there.
_INPUTS = (
    "patch_embedding",
    "time_embedding.linear_1",
    "text_embedding.linear_1",
    "audio_embedding.proj_in",
)
_GEOMETRY = (
    "dim",
    "ffn_dim",
    "num_layers",
    "freq_dim",
    "text_dim",
    "text_tokens",
    "latent_channels",
    "condition_channels",
    "patch_size",
    "audio_channels",
    "audio_dim",
    "audio_layers",
    "speech_injection",
)
_FIRST_NORMED = tuple(f"blocks.0.self_attn.{name}" for name in ("to_q", "to_k", "to_v"))


@dataclass(frozen=True)
class Shape:
    """What one forward pass gets: B samples of F latent frames of h x w, with their references.

    window: speech features per latent frame.
    """

    batch: int
    frames: int
    height: int
    width: int
    reference_frames: int
    window: int


@dataclass(frozen=True)
class Cost:
    """Of one micro-batch: ``tokens`` through the blocks, and floating-point operations of its two passes."""

    tokens: int
    forward: float
    backward: float

    @property
    def flops(self) -> float:
        return self.forward + self.backward


@dataclass(frozen=True)
class Adapters:
    """Low-rank adapters that are trained while everything else is frozen.

    ``targets`` are endings of layer names, as in ``phase.lora_targets``.
    """

    rank: int
    targets: tuple[str, ...]

    def changes(self, layer: str) -> bool:
        return any(layer == target or layer.endswith(f".{target}") for target in self.targets)


@dataclass(frozen=True)
class Product:
    """A linear layer: ``rows`` vectors of ``inputs`` channels to ``outputs`` channels."""

    rows: int
    inputs: int
    outputs: int

    @property
    def flops(self) -> float:
        return 2.0 * self.rows * self.inputs * self.outputs


def token_counts(model: Any, shape: Shape) -> tuple[int, int]:
    """(reference, target) tokens of one sample. ``model`` has the fields of ``ModelConfig``."""
    per_frame = (shape.height // model.patch_size[1]) * (shape.width // model.patch_size[2])
    return shape.reference_frames * per_frame, shape.frames * per_frame


def linear_layers(model: Any, shape: Shape) -> dict[str, Product]:
    """Every linear layer of the transformer by its module name (docs/notation.md §2)."""
    b, d, f, a = shape.batch, model.dim, model.ffn_dim, model.audio_dim
    reference, own = token_counts(model, shape)
    target, every = b * own, b * (reference + own)
    speech = b * shape.frames * shape.window
    patch = math.prod(model.patch_size)
    latent = model.latent_channels + model.condition_channels
    layers = {
        "patch_embedding": Product(every, latent * patch, d),
        # One row for timestep 0 and one per sample.
        "time_embedding.linear_1": Product(b + 1, model.freq_dim, d),
        "time_embedding.linear_2": Product(b + 1, d, d),
        "time_projection": Product(b + 1, d, 6 * d),
        "audio_embedding.proj_in": Product(speech, model.audio_channels, a),
        "audio_embedding.proj_out": Product(speech, a, d),
        "head.head": Product(target, d, model.latent_channels * patch),
    }
    for i in range(model.audio_layers):
        name = f"audio_embedding.layers.{i}"
        layers |= {
            f"{name}.attn.{part}": Product(speech, a, a) for part in ("to_q", "to_k", "to_v", "to_out.0")
        }
        # A gated unit: twice the width goes in, once comes out.
        layers[f"{name}.ff.net.0.proj"] = Product(speech, a, 8 * a)
        layers[f"{name}.ff.net.2"] = Product(speech, 4 * a, a)
    if model.text_tokens:
        # The text states are the same for all samples until the blocks.
        layers["text_embedding.linear_1"] = Product(model.text_tokens, model.text_dim, d)
        layers["text_embedding.linear_2"] = Product(model.text_tokens, d, d)
    for i in range(model.num_layers):
        layers |= _attention(f"blocks.{i}.self_attn", every, every, d)
        if model.text_tokens:
            layers |= _attention(f"blocks.{i}.cross_attn", target, b * model.text_tokens, d)
        if model.speech_injection == ADAIN:
            layers[f"blocks.{i}.audio_adain.conv"] = Product(b * shape.frames, BASE_WINDOW, d)
            layers[f"blocks.{i}.audio_adain.linear"] = Product(b * shape.frames, d, 2 * d)
        else:
            layers |= _attention(f"blocks.{i}.audio_attn", target, speech, d)
        layers[f"blocks.{i}.ffn.net.0.proj"] = Product(every, d, f)
        layers[f"blocks.{i}.ffn.net.2"] = Product(every, f, d)
    return layers


def attention_products(model: Any, shape: Shape) -> Mapping[str, float]:
    """Operations of scores and weighted values by kind of attention, all blocks together, forward."""
    reference, target = token_counts(model, shape)
    blocks = 4.0 * shape.batch * model.num_layers * model.dim
    per_layer = 4.0 * shape.batch * model.audio_layers * model.audio_dim
    return {
        "self": blocks * (reference + target) ** 2,
        "text": blocks * target * model.text_tokens,
        # Each token attends to the audio window of its own latent frame.
        "audio": 0.0 if model.speech_injection == ADAIN else blocks * target * shape.window,
        "projector": per_layer * shape.frames * shape.window**2,
    }


def training_cost(model: Any, shape: Shape, adapters: Adapters | None = None) -> Cost:
    """Operations of forward and backward of one micro-batch.

    The backward pass of a trained layer costs twice its forward: once for the gradient of the weights, once
    for that of its input. A frozen layer costs once, where a trained one lies before it, and else nothing.
    With adapters the first block counts as if its first layer had one.

    Args:
        model: fields of ``ModelConfig``, or the ``config`` of a ``DubbingTransformer``.
        adapters: what is trained; None: all parameters.
    """
    layers = linear_layers(model, shape)
    forward = backward = 0.0
    for name, layer in layers.items():
        trained = adapters is None
        forward += layer.flops
        backward += layer.flops * (trained + _input_has_gradient(name, adapters))
        if adapters is not None and adapters.changes(name):
            down = Product(layer.rows, layer.inputs, adapters.rank).flops
            up = Product(layer.rows, adapters.rank, layer.outputs).flops
            forward += down + up
            backward += down * (1 + _input_has_gradient(name, adapters)) + 2 * up
    for kind, flops in attention_products(model, shape).items():
        forward += flops
        backward += flops * _attention_gradients(kind, adapters, layers)
    tokens = shape.batch * sum(token_counts(model, shape))
    return Cost(tokens, forward, backward)


def model_cost(model: nn.Module, inputs: FlowInputs) -> Cost:
    """Cost of a micro-batch with ``model``, whose newest adapter is trained if it has any."""
    latents, reference = inputs.noisy, inputs.conditions.reference
    audio_features = inputs.conditions.audio_features
    batch, _, frames, height, width = latents.shape
    reference_frames = 0 if reference is None else reference.shape[2]
    shape = Shape(batch, frames, height, width, reference_frames, audio_features.shape[2])
    configs = getattr(model, "peft_config", None)
    adapters = None
    if configs:
        config = list(configs.values())[-1]
        adapters = Adapters(config.r, tuple(sorted(config.target_modules)))
    fields = tuple((name, _hashable(getattr(model.config, name))) for name in _GEOMETRY)
    return _cached_cost(fields, shape, adapters)


@lru_cache(maxsize=64)
def _cached_cost(fields: tuple[tuple[str, Any], ...], shape: Shape, adapters: Adapters | None) -> Cost:
    return training_cost(SimpleNamespace(**dict(fields)), shape, adapters)


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _attention(name: str, queries: int, keys: int, dim: int) -> dict[str, Product]:
    rows = {"to_q": queries, "to_k": keys, "to_v": keys, "to_out.0": queries}
    return {f"{name}.{part}": Product(count, dim, dim) for part, count in rows.items()}


def _input_has_gradient(name: str, adapters: Adapters | None) -> bool:
    if adapters is None:
        return name not in _INPUTS
    if name in _FIRST_NORMED or name.startswith(("patch_", "time_", "text_", "audio_")):
        return False
    # Text and speech reach the blocks through frozen layers.
    return not (".cross_attn." in name or ".audio_" in name) or name.endswith((".to_q", ".to_out.0"))


def _attention_gradients(kind: str, adapters: Adapters | None, layers: Collection[str]) -> float:
    """Backward over forward of the two products: 2 where queries, keys and values all have gradients."""
    if adapters is None or kind == "self":
        return 2.0
    if kind == "projector":
        return 0.0
    part = {"text": "cross_attn", "audio": "audio_attn"}[kind]
    keyed = any(
        part in name and name.endswith((".to_k", ".to_v")) for name in layers if adapters.changes(name)
    )
    return 2.0 if keyed else 1.0
