"""What the device at hand computes natively."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


def has_bf16(kind: str) -> bool:
    """Whether devices of this kind ("cuda", "cpu") compute in bfloat16; emulated, it is many times slower."""
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if kind == "cpu":
        # Older torch cannot tell; fp32 is then the safe answer.
        able: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        return any(able.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return False
