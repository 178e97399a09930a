"""8-bit weights of a loaded transformer through torchao (optional extra ``quant``)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from common.errors import UserError
from common.models.transformer import DubbingTransformer

FP8_CAPABILITY = (8, 9)
_FP8_MULTIPLE = 16


def quantize(transformer: DubbingTransformer, kind: str, device: torch.device) -> None:
    """Quantise the blocks' linear layers in place, one scale per row, and move the transformer to ``device``.

    kind: "int8" and "fp8" store 8 bits and multiply in the dtype of the activations: they save memory.
    "int8-dynamic" and "fp8-dynamic" also round every token of the activations to 8 bits and multiply so:
    they save time as well. Layer after layer is moved and narrowed, so the device never holds the wide model.

    Raises:
        UserError: torchao is missing, or the device or the model's widths do not suit ``kind``.
    """
    check_quantization(kind, device)
    if kind == "fp8-dynamic":
        _check_widths(transformer)
    quantize_, config = _torchao(kind)
    quantize_(transformer, config, filter_fn=is_quantized_layer, device=device)


def is_quantized_layer(module: nn.Module, name: str) -> bool:
    """Self-attention, text attention and FFN of the blocks: three quarters of the 5B model's weights.

    In full precision stay: audio attention or AdaIN and audio projector, because the lips come from there;
    time embedding and modulation, which scale whole layers and are kept in float32 anyway; patch embedding,
    text embedding and head, which are small and first or last; norms; adapters, whose small updates 8 bits
    would swallow.
    """
    inside = name.startswith("blocks.") and ".audio_" not in name and ".lora_" not in name
    return inside and isinstance(module, nn.Linear)


def check_quantization(kind: str, device: torch.device) -> None:
    """Refuse what cannot run here. Raises UserError: torchao is missing, or the device does not suit."""
    if kind == "none":
        return
    if kind == "fp8-dynamic" and (
        device.type != "cuda" or torch.cuda.get_device_capability(device) < FP8_CAPABILITY
    ):
        least = ".".join(map(str, FP8_CAPABILITY))
        raise UserError(
            f"speed.quantization=fp8-dynamic needs a GPU that multiplies in FP8 (compute capability {least} "
            f"or more), not {device}: use fp8 or int8."
        )
    _torchao(kind)


def _torchao(kind: str) -> tuple[Any, Any]:
    """torchao's ``quantize_`` and its config of ``kind``."""
    try:
        from torchao import quantization as ao
    except ImportError as error:
        raise UserError(
            f"speed.quantization={kind} needs torchao, which is not installed or does not fit this torch: "
            "pip install 'bootdub[quant]', or leave the switch out."
        ) from error
    if kind == "int8":
        return ao.quantize_, ao.Int8WeightOnlyConfig(version=2)
    if kind == "fp8":
        return ao.quantize_, ao.Float8WeightOnlyConfig()
    if kind == "int8-dynamic":
        return ao.quantize_, ao.Int8DynamicActivationInt8WeightConfig(version=2)
    return ao.quantize_, ao.Float8DynamicActivationFloat8WeightConfig(granularity=ao.PerRow())


def _check_widths(transformer: DubbingTransformer) -> None:
    for name, module in transformer.named_modules():
        if not is_quantized_layer(module, name):
            continue
        rows, columns = module.weight.shape  # type: ignore[union-attr]
        if rows % _FP8_MULTIPLE or columns % _FP8_MULTIPLE:
            raise UserError(
                f"speed.quantization=fp8-dynamic needs widths that are multiples of {_FP8_MULTIPLE}, but "
                f"{name} has {rows} x {columns}: use fp8 or int8."
            )
