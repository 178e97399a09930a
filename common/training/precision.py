"""Which arithmetic a training run uses on the device at hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

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
    return "bf16" if _has_bf16(torch.device(device).type) else "no"


def is_emulated(precision: str, device: torch.device | str) -> bool:
    """Whether this arithmetic is emulated: bf16 on an AVX2 CPU was 30 to 60 times slower than fp32."""
    return precision == "bf16" and not _has_bf16(torch.device(device).type)


def _has_bf16(kind: str) -> bool:
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if kind == "cpu":
        # Older torch cannot tell; fp32 is then the safe answer.
        able: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        return any(able.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return False
