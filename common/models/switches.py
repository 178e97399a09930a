"""The switches of a ``speed`` section, put on a loaded transformer in the order that they need.

    quantize    weights, layer by layer, on their way to the device; adapters are there already
    compile     the blocks' own forward, so that every hook stays outside of the graph
    attention   names only
    step cache  hooks around the compiled forward
    offload     hooks around those: a streamed offload takes its tracking hooks off again after the first
                step, and diffusers would take off with them whatever hook was put on above

Nothing is put on where a switch is off: the model is then the same object with the same forward.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.hooks import apply_group_offloading
from diffusers.models.attention_dispatch import AttentionBackendName, _check_attention_backend_requirements

from common.errors import UserError
from common.models.quantize import check_quantization, quantize
from common.models.speed import SpeedConfig
from common.models.step_cache import enable_step_cache
from common.models.transformer import DubbingTransformer

_PACKAGES = {"xformers": "xformers", "flash": "flash-attn", "sage": "sageattention"}
_HALF_ONLY = ("flash", "sage")


def place_transformer(transformer: DubbingTransformer, device: torch.device, speed: SpeedConfig) -> None:
    """Move a loaded transformer to ``device`` and turn on what ``speed`` asks for.

    Guidance branches and interval are the sampler's and not looked at here. Call once per model.

    Raises:
        UserError: as :func:`check_switches`, or the model's widths do not suit its quantisation. The model
            is then as it was.
    """
    check_switches(speed, device, transformer.patch_embedding.weight.dtype)
    if speed.quantization != "none":
        quantize(transformer, speed.quantization, device)
    if speed.compile:
        compile_blocks(transformer)
    if speed.attention_backend != "native":
        transformer.set_attention_backend(speed.attention_backend)
    enable_step_cache(transformer, speed)
    if speed.offload:
        offload_blocks(transformer, device)
    else:
        transformer.to(device)  # type: ignore[arg-type]


def check_switches(speed: SpeedConfig, device: torch.device, dtype: torch.dtype) -> None:
    """Refuse what cannot run on ``device`` with weights of ``dtype``, before anything is loaded.

    Raises:
        UserError: a switch needs a package, a device or a dtype that is not there.
    """
    _check_attention_backend(speed.attention_backend, device, dtype)
    check_quantization(speed.quantization, device)
    if speed.offload and device.type == "cpu":
        raise UserError(
            "speed.offload moves blocks between main memory and a GPU, but the device is cpu: leave it out."
        )


def compile_blocks(transformer: DubbingTransformer, **options: Any) -> None:
    """Compile the forward of every block; all share one graph per shape. ``options`` are torch.compile's."""
    for block in transformer.blocks:
        block.forward = torch.compile(block.forward, **options)  # type: ignore[method-assign]


def offload_blocks(transformer: DubbingTransformer, device: torch.device) -> None:
    """Keep the weights in (pinned) main memory; each block is on ``device`` while it computes.

    On CUDA the next block is copied on a stream of its own meanwhile, so two blocks are there at a time. What
    is outside of the blocks comes for the length of a forward.
    """
    streams = device.type == "cuda"
    apply_group_offloading(
        transformer,
        onload_device=device,
        offload_device=torch.device("cpu"),
        offload_type="block_level",
        num_blocks_per_group=1,
        use_stream=streams,
        non_blocking=streams,
        record_stream=streams,
    )


def _check_attention_backend(name: str, device: torch.device, dtype: torch.dtype) -> None:
    if name == "native":
        return
    key = f"speed.attention_backend={name}"
    if device.type != "cuda":
        raise UserError(f"{key} runs on CUDA devices only, not on {device.type}: use native.")
    if name in _HALF_ONLY and dtype not in (torch.bfloat16, torch.float16):
        raise UserError(f"{key} computes in 16 bits, but the model is in {dtype}: load it in bfloat16.")
    try:
        _check_attention_backend_requirements(AttentionBackendName(name))
    except RuntimeError as error:
        raise UserError(
            f"{key} needs the package {_PACKAGES[name]}, which is missing, too old or not made for this "
            f"torch: pip install {_PACKAGES[name]}, or use native."
        ) from error
