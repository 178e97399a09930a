"""What this machine has, which optional parts are missing, and what dubs would take (`bootdub doctor`)."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import torch

from common.arithmetic import has_bf16, resolve_precision
from common.autoencoder.codec import VideoCodec, build_vae, hollow_vae
from common.autoencoder.config import VaeConfig
from common.diffusion.config import DiffusionConfig
from common.diffusion.guidance import build_guidance
from common.geometry import GeometryConfig
from common.models.config import ModelConfig
from common.models.load import narrowed
from common.models.package_info import PackageInfo, read_info
from common.models.transformer import DubbingTransformer, build_transformer
from common.training.peak import measured_peak
from stage2_dubber.dub.cost import WindowCost, window_cost

_GIB = 2**30
MIDDLE_SIGMA = 0.5


@dataclass(frozen=True)
class Machine:
    """The device that a dub would run on.

    Attributes:
        device: its name.
        cores: of the CPU, that this process may use.
        total_gib, free_gib: memory of the device: the GPU's, or main memory.
        main_free_gib: free main memory.
        native_bfloat16: whether it computes in bfloat16; emulated, that is many times slower than float32.
        dtype: of the weights with ``--dtype auto``.
        tflops: rate of a large matrix product in that dtype, measured now.
        kernels: of attention that PyTorch chooses from on a GPU; the widest vectors that it uses on a CPU.
    """

    device: str
    cores: int
    total_gib: float
    free_gib: float
    main_free_gib: float
    native_bfloat16: bool
    dtype: str
    tflops: float
    kernels: tuple[str, ...]


@dataclass(frozen=True)
class OptionalPart:
    """A Python package that is not needed.

    Attributes:
        name: as it is imported.
        there: whether it is installed.
        loads: whether it can be used, as far as can be told without a GPU.
        gives: what it is for.
        lack: what it costs not to have it.
        get: how to get it.
    """

    name: str
    there: bool
    loads: bool
    gives: str
    lack: str
    get: str


@dataclass(frozen=True)
class DubEstimate:
    """What the editor of a model would take here.

    Attributes:
        model: which one.
        on_gpu: whether that is a GPU.
        steps, branches: sampler steps, and calls of the transformer for each.
        weights_gib: of transformer and autoencoder.
        working_gib: upper estimate of what the transformer holds beside its weights.
        fits: whether both fit into the free memory of the device.
        fits_offloaded: whether it does with --offload, the blocks in main memory; never on a CPU.
        least_seconds_per_second: seconds of arithmetic per second of video at the measured rate. Nothing
            is faster; attention, memory and video take their time beside it.
    """

    model: str
    on_gpu: bool
    steps: int
    branches: int
    weights_gib: float
    working_gib: float
    fits: bool
    fits_offloaded: bool
    least_seconds_per_second: float


@dataclass(frozen=True)
class Examination:
    """The answer of :func:`examine`."""

    machine: Machine
    parts: list[OptionalPart]
    estimates: list[DubEstimate]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


_OWN_KERNEL = "PyTorch's own kernel is taken"
_REFUSED = "that is refused"
_PARTS = (
    ("torchao", "8-bit weights (--quantization)", "weights take twice the memory", "'bootdub[quant]'"),
    ("xformers", "an attention kernel for GPUs (--attention xformers)", _OWN_KERNEL, "xformers"),
    ("flash_attn", "an attention kernel for GPUs (--attention flash)", _OWN_KERNEL, "flash-attn"),
    ("sageattention", "an 8-bit attention kernel for GPUs (--attention sage)", _OWN_KERNEL, "sageattention"),
    ("insightface", "another face detector (--detector insightface)", _REFUSED, "'bootdub[insightface]'"),
    ("gradio", "the page in the browser (bootdub ui)", _REFUSED, "'bootdub[ui]'"),
    ("fastapi", "dubbing over HTTP (bootdub serve)", _REFUSED, "'bootdub[serve]'"),
    ("ray", "many machines (bootdub batch --ray)", _REFUSED, "'bootdub[ray]'"),
    ("matplotlib", "metrics and reports (bootdub evaluate)", _REFUSED, "'bootdub[evaluate]'"),
    ("c2pa", "signed manifests (--c2pa-cert)", _REFUSED, "'bootdub[c2pa]'"),
)
"""Module, what it is for, what it costs not to have it, what pip is asked for."""


def examine(device: torch.device, model: Path | None) -> Examination:
    """Look at the machine and its parts, and calculate what dubs would take.

    Args:
        device: where the model would run.
        model: a package that is estimated beside the public ones; None: none.

    Raises:
        UserError: the package cannot be read.
    """
    machine = _machine(device)
    rate = 1e12 * machine.tflops
    dtype = resolve_precision("auto", device)
    estimates = []
    if model is not None:
        estimates.append(_of_package(model, machine, dtype))
    public = _public_cost(dtype)
    for name, steps, branches in (("public 5B editor", 30, 3), ("public 5B two-step student", 2, 1)):
        estimates.append(_estimate(name, public, steps, branches, GeometryConfig().fps, machine, rate))
    parts = [_part(*of) for of in _PARTS]
    return Examination(machine, parts, estimates)


def _part(name: str, gives: str, lack: str, get: str) -> OptionalPart:
    there = find_spec(name) is not None
    loads = there and (name != "xformers" or _xformers_loads())
    return OptionalPart(name, there, loads, gives, lack, f"pip install {get}")


def _xformers_loads() -> bool:
    """Whether its kernels load: built for another torch it imports without a word, and fails when called."""
    library = import_module("xformers._cpp_lib")
    return getattr(library, "_cpp_library_load_exception", None) is None


def estimate_package(folder: Path, device: torch.device) -> DubEstimate:
    """What the editor of one package would take; its weights are not read.

    Raises:
        UserError: the package cannot be read.
    """
    return _of_package(folder, _machine(device), resolve_precision("auto", device))


def _machine(device: torch.device) -> Machine:
    memory = psutil.virtual_memory()
    total, free, name = memory.total, memory.available, _cpu_name()
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        name = torch.cuda.get_device_name(device)
    dtype = resolve_precision("auto", device)
    return Machine(
        device=f"{device.type}: {name}",
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        total_gib=total / _GIB,
        free_gib=free / _GIB,
        main_free_gib=memory.available / _GIB,
        native_bfloat16=has_bf16(device.type),
        dtype=str(dtype).removeprefix("torch."),
        tflops=measured_peak(device, dtype) / 1e12,
        kernels=_kernels(device),
    )


def _kernels(device: torch.device) -> tuple[str, ...]:
    if device.type != "cuda":
        return (torch.backends.cpu.get_cpu_capability(),)
    own = torch.backends.cuda
    enabled = {
        "flash": own.flash_sdp_enabled() and own.is_flash_attention_available(),
        "memory-efficient": own.mem_efficient_sdp_enabled(),
        "cudnn": own.cudnn_sdp_enabled(),
        "math": own.math_sdp_enabled(),
    }
    return tuple(name for name, there in enabled.items() if there)


def _cpu_name() -> str:
    """As Linux names the processor, else what Python knows of it."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _of_package(folder: Path, machine: Machine, dtype: torch.dtype) -> DubEstimate:
    info = read_info(folder)
    if info.joint is not None:
        return _of_joint_package(folder, info, machine, dtype)
    config = DubbingTransformer.load_config(folder / "transformer", local_files_only=True)
    with torch.device("meta"):
        transformer: Any = DubbingTransformer.from_config(config)
    codec = VideoCodec(hollow_vae(folder / "vae"))
    cost = window_cost(_narrowed(transformer, dtype), codec, info.geometry, info.speech.extra_window)
    steps = info.diffusion.num_steps * info.diffusion.passes
    fps, rate = info.geometry.fps, 1e12 * machine.tflops
    return _estimate(str(folder), cost, steps, _branches(info.diffusion), fps, machine, rate)


def _of_joint_package(folder: Path, info: PackageInfo, machine: Machine, dtype: torch.dtype) -> DubEstimate:
    # diffusers' pipelines of LTX-2 take seconds to import.
    from stage2_dubber.dub.joint_cost import guidance_branches, joint_package_cost

    assert info.joint is not None
    cost, diffusion = joint_package_cost(folder, info, dtype), info.diffusion
    branches = guidance_branches(info.joint, diffusion.audio_scale)
    fps, rate = info.geometry.fps, 1e12 * machine.tflops
    found = _estimate(str(folder), cost, diffusion.num_steps, branches, fps, machine, rate)
    return replace(found, fits_offloaded=False)  # its blocks cannot be offloaded


@cache
def _public_cost(dtype: torch.dtype) -> WindowCost:
    with torch.device("meta"):
        transformer, codec = build_transformer(ModelConfig()), VideoCodec(build_vae(VaeConfig()))
    return window_cost(_narrowed(transformer, dtype), codec, GeometryConfig(), 0)


def _branches(diffusion: DiffusionConfig) -> int:
    """Calls of the transformer for a step in the middle of the way."""
    return len(build_guidance(diffusion).weights(MIDDLE_SIGMA))


def _estimate(
    name: str, cost: WindowCost, steps: int, branches: int, fps: float, machine: Machine, rate: float
) -> DubEstimate:
    transformer, autoencoder = cost.transformer_bytes / _GIB, cost.autoencoder_bytes / _GIB
    working = cost.activation_bytes / _GIB
    weights = transformer + autoencoder
    on_gpu = machine.device.startswith("cuda")
    offloaded = on_gpu and (autoencoder + working < machine.free_gib and transformer < machine.main_free_gib)
    return DubEstimate(
        model=name,
        on_gpu=on_gpu,
        steps=steps,
        branches=branches,
        weights_gib=weights,
        working_gib=working,
        fits=weights + working < machine.free_gib,
        fits_offloaded=offloaded,
        least_seconds_per_second=cost.flops(steps, branches) / rate * fps / cost.frames,
    )


def _narrowed(transformer: DubbingTransformer, dtype: torch.dtype) -> DubbingTransformer:
    """With its weights in ``dtype``, as loading does."""
    transformer.load_state_dict(narrowed(transformer, transformer.state_dict(), dtype), assign=True)
    return transformer


def report_lines(found: Examination) -> Iterator[str]:
    """The examination for people."""
    machine = found.machine
    native = "native" if machine.native_bfloat16 else "emulated (slow)"
    yield f"device      {machine.device}, {machine.cores} CPU cores"
    yield f"memory      {machine.free_gib:.1f} of {machine.total_gib:.1f} GiB free"
    yield f"arithmetic  {machine.dtype} (bfloat16 is {native}), {machine.tflops:.3g} TFLOP/s measured"
    yield f"kernels     {', '.join(machine.kernels)}"
    yield ""
    yield "Optional packages"
    for part in found.parts:
        state = "installed" if part.loads else f"missing, {part.lack}; {part.get}"
        if part.there and not part.loads:
            built = f"its kernels were built for another torch than {torch.__version__}"
            state = f"installed, but {built}: {part.lack}"
        yield f"  {part.name:<14} {part.gives}: {state}"
    yield ""
    yield "What an editor takes here: weights + working memory, seconds per second of video at the least"
    for row in found.estimates:
        offloaded = "fits with --offload" if row.fits_offloaded else "does not fit"
        seconds = row.least_seconds_per_second
        yield (
            f"  {row.model}, {row.steps} steps x {row.branches}: {row.weights_gib:.2f} + "
            f"{row.working_gib:.2f} GiB ({'fits' if row.fits else offloaded}), "
            f"{seconds:{',.0f' if seconds >= 10 else '.2g'}} s"
        )
