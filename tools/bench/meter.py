"""Seconds and peak memory of a piece of work, on a CUDA device or a CPU."""

from __future__ import annotations

import ctypes
import ctypes.util
import gc
import time
from pathlib import Path

import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # proc(5): the peak resident set becomes the present one


class Meter:
    """Begins with nothing cached; memory is what was added since, on the device that does the work.

    On CUDA: bytes of tensors. On a CPU under Linux: resident memory of the process, less what it had at the
    start, with all that the allocator rounds up; elsewhere unknown.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
            self._before = torch.cuda.memory_allocated(device)
        elif _CLEAR.exists():
            _return_free_memory()
            self._before = _status("VmRSS")

    def forget_peak(self) -> None:
        """Loading is done: only what comes now counts, on top of what was loaded."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        elif _CLEAR.exists():
            _return_free_memory()
            _CLEAR.write_text(_RESET_PEAK)

    def clock(self) -> float:
        """Seconds, once the device has done all that it was given."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()

    def peak_gib(self) -> float | None:
        """GiB at the worst moment since :meth:`forget_peak`; None where nobody can know."""
        if self._device.type == "cuda":
            return (torch.cuda.max_memory_allocated(self._device) - self._before) / 2**30
        if _CLEAR.exists():
            return max(_status("VmHWM") - self._before, 0) / 2**30
        return None


def _return_free_memory() -> None:
    """What was freed goes back to the system, so that the next peak is not hidden in it."""
    trim = getattr(ctypes.CDLL(ctypes.util.find_library("c")), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _status(key: str) -> int:
    """A size in /proc/self/status, in bytes."""
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{key}:"))
    return int(line.split()[1]) * 1024
