"""Which arithmetic a training run uses on the device at hand."""

from __future__ import annotations

import torch

from common.arithmetic import has_bf16
from common.errors import UserError


def resolve_precision(wanted: str, device: torch.device | str) -> str:
    """Turn "auto" into "bf16" where the device computes in bf16 natively, else into "no"; check other values.

    Raises:
        UserError: not one of "auto", "bf16", "no".
    """
    if wanted not in ("auto", "bf16", "no"):
        raise UserError(f'mixed_precision is "{wanted}"; use "auto", "bf16" or "no".')
    if wanted != "auto":
        return wanted
    return "bf16" if has_bf16(torch.device(device).type) else "no"


def is_emulated(precision: str, device: torch.device | str) -> bool:
    """Whether this arithmetic is emulated: bf16 on an AVX2 CPU was 30 to 60 times slower than fp32."""
    return precision == "bf16" and not has_bf16(torch.device(device).type)
