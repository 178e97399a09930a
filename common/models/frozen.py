"""Frozen networks: those that losses and metrics compute with, and their fingerprints."""

from __future__ import annotations

import hashlib
from typing import TypeVar

import torch
from torch import nn

Model = TypeVar("Model", bound=nn.Module)


def freeze(model: Model) -> Model:
    """``model`` itself, in inference mode and without gradients of its own."""
    return model.eval().requires_grad_(False)


def weight_fingerprint(model: nn.Module) -> str:
    """SHA-256 over names and values of parameters and buffers, the same on every device."""
    digest = hashlib.sha256()
    for name, tensor in sorted([*model.named_parameters(), *model.named_buffers()]):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().to("cpu").contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
