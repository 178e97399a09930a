"""What each speed switch costs and gains, against the exact run of the same process.

    python tools/bench/switch_bench.py --package models/bootdub-tiny --json
    python tools/bench/switch_bench.py --size wan5b --steps 30 --json
    python tools/bench/switch_bench.py --package DIR --clip face.mp4 --audio speech.wav \
        --switch step_cache=first-block cache_threshold=0.1 --switch compile=true

One window without motion latents is sampled: exactly (branches in sequence, everything off), exactly once
more (what differs there is noise of the measurement), then with each switch. Without ``--switch`` all that
this machine can run; what it refuses is listed with the reason. Seconds are per sampler step, after a
warm-up; memory is the peak while sampling, with the weights and, in a package, those of the autoencoder.
With ``--json`` the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parent.parent.parent
for _folder in (ROOT, ROOT / "tools" / "bench"):  # also runs from a checkout that is not installed
    if str(_folder) not in sys.path:
        sys.path.insert(0, str(_folder))

from dub_measure import PeakMemory, clock  # noqa: E402
from switch_material import SIZES, Loaded, Material, PackageMaterial, RandomMaterial  # noqa: E402

from common.command import exit_code_of  # noqa: E402
from common.config import load_config  # noqa: E402
from common.diffusion.branches import batch_branches, forward_bytes  # noqa: E402
from common.diffusion.sampler import EulerSampler, build_sampler  # noqa: E402
from common.errors import UserError  # noqa: E402
from common.models.speed import SpeedConfig  # noqa: E402
from common.psnr import psnr_of_mse  # noqa: E402
from stage2_dubber.dub.config import DubConfig  # noqa: E402
from stage2_dubber.dub.device import choose_device, choose_dtype  # noqa: E402

EXACT = ("guidance_branches=sequential",)
VARIANTS: tuple[tuple[str, ...], ...] = (
    EXACT,
    ("guidance_branches=batched",),
    ("guidance_interval=[0.3,1]",),
    ("guidance_interval=[0,0.95]",),
    ("guidance_interval=[0.5,0.97]",),
    ("step_cache=first-block", "cache_threshold=0.05"),
    ("step_cache=first-block", "cache_threshold=0.1"),
    ("step_cache=taylorseer-lite", "cache_interval=2"),
    ("step_cache=taylorseer-lite", "cache_interval=3"),
    ("step_cache=taylorseer", "cache_interval=3"),
    ("attention_backend=xformers",),
    ("attention_backend=flash",),
    ("attention_backend=sage",),
    ("quantization=int8",),
    ("quantization=fp8",),
    ("quantization=int8-dynamic",),
    ("quantization=fp8-dynamic",),
    ("offload=true",),
    ("offload=true", "guidance_branches=batched"),
)
# On a CPU the compiler takes longer than all the rest; asked for by --switch it is measured there, too.
GPU_VARIANTS: tuple[tuple[str, ...], ...] = (
    ("compile=true",),
    ("compile=true", "quantization=fp8-dynamic"),
    ("compile=true", "quantization=int8-dynamic"),
)
WARMUP_STEPS = 2


@dataclass
class Measured:
    """One run. latents and view are on the CPU."""

    seconds_per_step: float
    peak_gib: float
    estimate_gib: float
    latents: torch.Tensor
    view: torch.Tensor
    peak: float | None


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)

    def work() -> None:
        results = run(options)
        if options.json:
            print(json.dumps(results))

    return exit_code_of(work)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure the exact model, then each variant, and print as it goes.

    Raises UserError for bad input; a switch that is refused is a row.
    """
    device = choose_device(options.device)
    dtype = choose_dtype(options.dtype or "auto", device)
    material: Material
    if options.package is not None:
        material = PackageMaterial(options.package, options.clip, options.audio, options.frames)
    else:
        material = RandomMaterial(options.size, options.crop, options.frames)
    if options.steps is not None:
        material.diffusion = replace(material.diffusion, num_steps=options.steps)
    default = (*VARIANTS, *(GPU_VARIANTS if device.type == "cuda" else ()))
    variants = {words: read_switches(words) for words in [tuple(w) for w in options.switch or default]}
    # What only the first run of a process pays for (libraries, pools of memory) is in none of the rows.
    measure(material, read_switches(EXACT), device, dtype, steps=1)
    exact = measure(material, read_switches(EXACT), device, dtype)
    results: dict[str, Any] = {
        "model": material.name,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "torch": torch.__version__,
        "dtype": str(dtype).removeprefix("torch."),
        "latents": list(exact.latents.shape),
        "steps": material.diffusion.num_steps,
        "psnr_of": material.psnr_of,
        "exact": {
            "seconds_per_step": exact.seconds_per_step,
            "peak_gib": exact.peak_gib,
            "estimated_gib_per_branch": exact.estimate_gib,
        },
        "switches": [],
    }
    width = max(len(" ".join(words)) for words in variants)
    print(heading(results, width), flush=True)
    for words, speed in variants.items():
        row = compare(words, speed, exact, material, device, dtype)
        results["switches"].append(row)
        print(line(row, width), flush=True)
    return results


def read_switches(words: Sequence[str]) -> SpeedConfig:
    """Fields of the speed section, such as ``step_cache=first-block``; branches in sequence unless told."""
    return load_config(DubConfig, overrides=[f"speed.{word}" for word in (*EXACT, *words)]).speed


def measure(
    material: Material,
    speed: SpeedConfig,
    device: torch.device,
    dtype: torch.dtype,
    steps: int | None = None,
) -> Measured:
    """Load, warm up, sample one window (in ``steps`` steps; None: the material's)."""
    memory = PeakMemory(device)
    loaded = material.load(speed, device, dtype)
    memory.reset()  # loading is done: only what comes now counts, on top of what was loaded
    shape, frames = loaded.noise.shape, loaded.noise.shape[2]
    sampler = build_sampler(
        material.diffusion,
        speed,
        before_step=loaded.before_step,
        batch_branches=batch_branches(speed.guidance_branches, loaded.transformer, shape, frames, device),
        num_steps=steps or material.diffusion.num_steps,
    )
    # The compiler meets other shapes and adapters on the way down, so it needs the whole way once.
    warm = sampler.num_steps if speed.compile else min(WARMUP_STEPS, sampler.num_steps)
    _sample(replace(sampler, num_steps=warm), loaded)
    start = clock(device)
    latents = _sample(sampler, loaded)
    seconds = clock(device) - start
    peak = memory.peak() / 2**30
    estimate = forward_bytes(loaded.transformer, shape, frames) / 2**30
    view = loaded.view(latents)
    return Measured(seconds / sampler.num_steps, peak, estimate, latents.cpu(), view, loaded.peak)


def _sample(sampler: EulerSampler, loaded: Loaded) -> torch.Tensor:
    return sampler.sample(loaded.transformer, loaded.noise, loaded.conditions)


def compare(
    words: tuple[str, ...],
    speed: SpeedConfig,
    exact: Measured,
    material: Material,
    device: torch.device,
    dtype: torch.dtype,
) -> dict[str, Any]:
    """One row: ratios to the exact run, or the reason why there are none."""
    row: dict[str, Any] = {
        "switch": "exact again" if words == EXACT else " ".join(words),
        "speed": speed.changes(),
        "refused": None,
        "identical": None,
        "psnr_db": None,
        "seconds_ratio": None,
        "memory_ratio": None,
    }
    try:
        measured = measure(material, speed, device, dtype)
    except UserError as error:
        return row | {"refused": str(error)}
    except torch.OutOfMemoryError:
        return row | {"refused": f"The memory of {device} is too small for it."}
    row["identical"] = torch.equal(measured.latents, exact.latents)
    row["psnr_db"] = None if row["identical"] else tensor_psnr(measured.view, exact.view, exact.peak)
    row["seconds_ratio"] = measured.seconds_per_step / exact.seconds_per_step
    if exact.peak_gib > 0:
        row["memory_ratio"] = measured.peak_gib / exact.peak_gib
    return row


def tensor_psnr(made: torch.Tensor, exact: torch.Tensor, peak: float | None) -> float | None:
    """In dB, for values that differ by at most ``peak``; None: no difference.

    ``peak`` None: the range of ``exact``.
    """
    peak = float(exact.max() - exact.min()) if peak is None else peak
    error = (made.double() - exact.double()).square().mean().item()
    return psnr_of_mse(error, peak) if error > 0 else None


def heading(results: dict[str, Any], width: int) -> str:
    """What is measured, the exact run, and the names of the columns."""
    exact = results["exact"]
    memory = "unknown" if exact["peak_gib"] is None else f"{exact['peak_gib']:.2f} GiB"
    return (
        f"{results['model']} on {results['device']}, {results['dtype']}, latents {results['latents']}, "
        f"{results['steps']} steps\n"
        f"exact: {exact['seconds_per_step']:.4g} s per step, peak {memory}\n"
        f"{'switch':<{width}}  PSNR of {results['psnr_of']:<9}  seconds  memory"
    )


def line(row: dict[str, Any], width: int) -> str:
    """One row for people."""
    if row["refused"] is not None:
        return f"{row['switch']:<{width}}  not run: {row['refused']}"
    level = "identical" if row["psnr_db"] is None else f"{row['psnr_db']:.1f} dB"
    share = "-" if row["memory_ratio"] is None else f"{row['memory_ratio']:.2f}"
    return f"{row['switch']:<{width}}  {level:<17}  {row['seconds_ratio']:<7.3f}  {share}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--package", type=Path, help="model package of stage 2; PSNR is of decoded crops")
    what.add_argument("--size", choices=tuple(SIZES), default="toy", help="random weights; PSNR of latents")
    parser.add_argument("--clip", type=Path, help="video with a face, for --package (default: a drawn one)")
    parser.add_argument("--audio", type=Path, help="speech that goes with --clip")
    parser.add_argument("--crop", type=int, help="side of the clip in pixels, for --size")
    parser.add_argument("--frames", type=int, help="frames of the window (default: the model's)")
    parser.add_argument("--steps", type=int, help="sampler steps (default: the model's)")
    parser.add_argument(
        "--switch",
        nargs="+",
        action="append",
        metavar="KEY=VALUE",
        help="a variant: fields of the speed section; once per variant (default: all)",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="default: by device")
    parser.add_argument("--json", action="store_true", help="print JSON as the last line")
    return parser


if __name__ == "__main__":
    sys.exit(main())
