"""What the device at hand computes natively."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import RLock
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


_threads = RLock()


@contextmanager
def one_thread() -> Iterator[None]:
    """Within, torch computes on one thread of the CPU.

    A recurrent network of small layers waits at a barrier per step: beside other work on the same cores two
    threads take several times as long as one. The number of threads belongs to the process, so that one such
    block runs at a time.
    """
    with _threads:
        usual = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(usual)
