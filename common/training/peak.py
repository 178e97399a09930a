"""How fast a device multiplies matrices: measured here, and promised by its data sheet."""

from __future__ import annotations

import time
from functools import cache

import torch

# Dense bf16 tensor-core FLOP/s of the data sheets, without sparsity. The first name that fits counts.
DATA_SHEET = {
    "B200": 2250e12,
    "H200 NVL": 835e12,
    "H200": 989e12,
    "GH200": 989e12,
    "H100 NVL": 835e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "H800 PCIe": 756e12,
    "H800": 989e12,
    "H20": 148e12,
    "A100": 312e12,
    "A800": 312e12,
    "L40S": 362e12,
}
MEMORY_GIB = {"a100": 80, "h100": 80, "h200": 141}
"""Names of the table in --dry-run, as the vendors sell them."""

_SIDE = {"cuda": 8192, "cpu": 512}
_REPEATS = {"cuda": 20, "cpu": 3}


def data_sheet_peak(device: torch.device) -> float | None:
    """Dense bf16 FLOP/s that the device's data sheet names; None where it is not in the list."""
    if device.type != "cuda":
        return None
    return peak_of_name(torch.cuda.get_device_name(device))


def peak_of_name(name: str) -> float | None:
    """As :func:`data_sheet_peak`, for the name that the driver gives."""
    for known, peak in DATA_SHEET.items():
        if set(known.lower().split()) <= set(name.lower().replace("-", " ").split()):
            return peak
    return None


@cache
def measured_peak(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of the best of a few products of two fixed square matrices, once per process.

    Leaves the global random state alone.
    """
    side = _SIDE.get(device.type, _SIDE["cpu"])
    generator = torch.Generator().manual_seed(0)
    # Random numbers, not zeros: a GPU runs faster on zeros, since they draw less power.
    left, right = torch.randn(2, side, side, generator=generator).to(device, dtype)
    (left @ right).sum().item()
    best = float("inf")
    for _ in range(_REPEATS.get(device.type, _REPEATS["cpu"])):
        begin = time.perf_counter()
        product = left @ right
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - begin)
        del product
    return 2.0 * side**3 / best
