"""Seconds and peak memory of the parts of a dub, and what they computed."""

from __future__ import annotations

import ctypes
import gc
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

STATUS, CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"  # what the kernel wants to hear to forget the highest resident size so far (proc(5))


class PeakMemory:
    """The highest use of memory since the last reset, above what was in use when this was made.

    On a GPU it is what PyTorch has allocated there. On a CPU it is the resident size of this process, which
    counts every buffer of every library; make one after the weights are loaded, in a process of its own.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device if device.type == "cuda" else None
        self._resets = self._cuda is not None or CLEAR_REFS.exists()
        gc.collect()
        self.reset()
        self.before = self._highest()
        """Bytes in use at the beginning: the weights and, on a CPU, the libraries."""

    @property
    def method(self) -> str:
        if self._cuda is not None:
            return "torch.cuda.max_memory_allocated, above the weights"
        if self._resets:
            return "VmHWM, reset before every part, above the loaded process"
        return "ru_maxrss of the process so far, above the loaded process"

    def reset(self) -> None:
        """Forget the peak so far."""
        if self._cuda is None and sys.platform == "linux":
            ctypes.CDLL(None).malloc_trim(0)  # else freed memory would hide what comes
        if self._cuda is not None:
            torch.cuda.reset_peak_memory_stats(self._cuda)
        elif self._resets:
            CLEAR_REFS.write_text(RESET_PEAK)

    def peak(self) -> int:
        """Bytes."""
        return self._highest() - self.before

    def _highest(self) -> int:
        if self._cuda is not None:
            return torch.cuda.max_memory_allocated(self._cuda)
        if self._resets:
            line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
            return int(line.split()[1]) * 1024
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def clock(device: torch.device) -> float:
    """Seconds, once the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


@dataclass
class Reading:
    """One run of one part. On a machine that others use too, ``cpu_seconds`` say more than ``seconds``."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


class Parts:
    """Readings by part; one part is open at a time."""

    def __init__(self, device: torch.device, memory: PeakMemory) -> None:
        self._device, self._memory = device, memory
        self._open: tuple[str, float, float] | None = None
        self._apart = (0.0, 0.0)
        self.readings: dict[str, list[Reading]] = {}

    def start(self, name: str) -> None:
        """End the open part, if any, and begin ``name``."""
        self.stop()
        self._memory.reset()
        self._apart = (0.0, 0.0)
        self._open = (name, *self._now())

    def stop(self) -> None:
        if self._open is None:
            return
        now, cpu = self._now()
        name, begun, cpu_begun = self._open
        seconds, cpu_seconds = now - begun - self._apart[0], cpu - cpu_begun - self._apart[1]
        self.readings.setdefault(name, []).append(Reading(seconds, cpu_seconds, self._memory.peak()))
        self._open = None

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Time in here is the bench's own and belongs to no part."""
        begun, cpu_begun = self._now()
        yield
        now, cpu = self._now()
        self._apart = (self._apart[0] + now - begun, self._apart[1] + cpu - cpu_begun)

    def _now(self) -> tuple[float, float]:
        return clock(self._device), time.process_time()


class Tape:
    """Keeps a window's latents and decoded video in files, for comparison; None: nowhere.

    Videos are appended frame by frame as float32 (3, H, W): kept in memory they would count as the variant's.
    """

    def __init__(self, folder: Path | None, name: str) -> None:
        self._folder, self._name = folder, name
        if folder is not None:
            video_file(folder, name).write_bytes(b"")

    def latents(self, latents: torch.Tensor) -> None:
        if self._folder is not None:
            save_file({"latents": latents.float().cpu().contiguous()}, latents_file(self._folder, self._name))

    def video(self, piece: torch.Tensor) -> None:
        """(1, 3, n, H, W)."""
        if self._folder is not None:
            with video_file(self._folder, self._name).open("ab") as file:
                for frame in piece[0].unbind(1):
                    file.write(frame.float().cpu().contiguous().numpy().tobytes())


def latents_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.latents.safetensors"


def video_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.video.f32"
