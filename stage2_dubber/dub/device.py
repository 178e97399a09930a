"""The device that a dub runs on, and the numbers that its model computes in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from common.arithmetic import resolve_precision
from common.errors import UserError


def choose_device(name: str | torch.device) -> torch.device:
    """The device that ``name`` means: "auto" is the GPU where there is one.

    Raises:
        UserError: there is no such device here.
    """
    if isinstance(name, str) and name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"There is no device '{name}': choose auto, cpu or cuda.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError("The device 'cuda' is not there (no GPU, or a build without CUDA): use --device cpu.")
    return device


def choose_dtype(wanted: str | torch.dtype, device: torch.device) -> torch.dtype:
    """The dtype of the weights that ``wanted`` means: "auto" is bfloat16 where the device computes in it
    natively, else float32.

    Raises:
        UserError: there is no such dtype.
    """
    if isinstance(wanted, torch.dtype):
        return wanted
    return resolve_precision(wanted, device, "dtype")


@contextmanager
def memory_errors() -> Iterator[None]:
    """Turn a GPU's want of memory into a sentence."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError(
            "The memory of the GPU is too small for this model: free some, use --device cpu or a smaller "
            "model."
        ) from error
