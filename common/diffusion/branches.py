"""Whether the guidance branches of a window go through the model together or one after another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

BRANCHES = 3
# Of what is free: the rest is for what others take meanwhile.
SHARE_OF_FREE_MEMORY = 0.8
# Temporaries and fragments. On a CPU (dim 768, 2560 tokens, float32) a forward took 1.3 times the plain sum.
MARGIN = 1.5


def batch_branches(
    mode: str, transformer: Any, shape: Sequence[int], reference_frames: int, device: torch.device
) -> bool:
    """Resolve ``speed.guidance_branches`` for latents of ``shape`` (B, C, F, h, w).

    "auto" batches on a CUDA device whose free memory holds the activations of all branches, and nowhere else:
    a CPU gains nothing and other devices do not tell what is free.
    """
    if mode != "auto":
        return mode == "batched"
    if device.type != "cuda":
        return False
    return BRANCHES * forward_bytes(transformer, shape, reference_frames) < (
        SHARE_OF_FREE_MEMORY * free_bytes(device)
    )


def forward_bytes(transformer: Any, shape: Sequence[int], reference_frames: int) -> int:
    """Upper estimate of a forward's activations without gradients, in bytes.

    Per token at the widest moment of a block, with what its frame still holds. Attention: the stream, its
    norm, q, k, v and the output, and q and k in float32 before and after the rotation. FFN: the stream before
    and after attention, target and reference apart, two norms, and the inner width before and after its
    activation.
    """
    config, weight = transformer.config, transformer.patch_embedding.weight
    batch, _, frames, height, width = shape
    patch = math.prod(config.patch_size)
    tokens = batch * (frames + reference_frames) * height * width // patch
    attention = (6 * weight.element_size() + 4 * torch.float32.itemsize) * config.dim
    ffn = weight.element_size() * (6 * config.dim + 2 * config.ffn_dim)
    return round(MARGIN * tokens * max(attention, ffn))


def free_bytes(device: torch.device) -> int:
    """Free memory of a CUDA device, with what this process has cached and does not use."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
