"""Number formats: their names, and what the device at hand computes natively."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import RLock
from typing import Any

import torch

from common.checks import precision


def has_bf16(kind: str) -> bool:
    """Whether devices of this kind ("cuda", "cpu") compute in bfloat16; emulated, it is many times slower."""
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if kind == "cpu":
        # Older torch cannot tell; float32 is then the safe answer.
        able: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        return any(able.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return False


def resolve_precision(wanted: str, device: torch.device | str, key: str = "the precision") -> torch.dtype:
    """The dtype that a word means: "float32", "bfloat16", or "auto".

    "auto" is bfloat16 where the device computes in it natively, else float32. ``key`` names the setting in
    messages.

    Raises:
        UserError: another word.
    """
    precision(key, wanted)
    if wanted == "auto":
        return torch.bfloat16 if has_bf16(torch.device(device).type) else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[wanted]


def is_emulated(dtype: torch.dtype, device: torch.device | str) -> bool:
    """Whether this arithmetic is emulated: bfloat16 on an AVX2 CPU was 30 to 60 times slower than float32."""
    return dtype == torch.bfloat16 and not has_bf16(torch.device(device).type)


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
