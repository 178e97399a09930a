"""How long each part of dubbing a window takes, how much memory it needs, and what the release's way takes.

    python tools/bench/dub_bench.py --size small --baseline per-token --json
    python tools/bench/dub_bench.py --size wan5b --json

Random weights, the code that dubs for users. Every variant runs in a process of its own. The last line is
JSON; docs/bench.md says how to read it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
for folder in (HERE, HERE.parent.parent):  # also runs from a checkout that is not installed
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from bench_arguments import positive  # noqa: E402
from dub_measure import latents_file, video_file  # noqa: E402
from dub_sizes import Size, named_size, write_inputs  # noqa: E402
from dub_window import (  # noqa: E402
    EXACT,
    PER_TOKEN,
    RELEASED_STEPS,
    WINDOW,
    WindowRun,
    describe,
    floors,
    run_window,
)
from safetensors.torch import load_file  # noqa: E402

from common.errors import EXIT_CODE, UserError  # noqa: E402
from common.geometry import is_clip_length  # noqa: E402
from stage2_dubber.dub.device import choose_device  # noqa: E402

PARTS = ("text", "audio", "crops", *WINDOW, "composite")


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    try:
        if options.variant:
            _work(options)
            return 0
        report = bench(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_CODE
    if not options.json:
        _print(report)
    print(json.dumps(report))
    return 0


def bench(options: argparse.Namespace) -> dict[str, Any]:
    """Run the asked variants and compare.

    Raises:
        UserError: the options contradict each other, or a variant failed.
    """
    size, device, dtype = _size(options), choose_device(options.device), _dtype(options)
    variants = [EXACT] if options.baseline == "none" else [options.baseline, EXACT]
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        write_inputs(work, size, options.speech)
        runs = {variant: _child(options, variant, work) for variant in variants}
        report: dict[str, Any] = {
            "size": options.size,
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "dtype": str(dtype).removeprefix("torch."),
            "geometry": describe(size),
            "parts": runs[EXACT]["parts"],
            "variants": runs,
            "floor": floors(size, device, dtype),
        }
        if len(runs) == 2:
            report |= compare(runs[options.baseline], runs[EXACT])
            report |= differences(work, size, options.baseline)
    return report


def compare(before: dict[str, Any], after: dict[str, Any]) -> dict[str, float]:
    """Times of the baseline over those of the exact mode; memory of the exact mode over the baseline's."""
    at_released = f"window_seconds_at_{RELEASED_STEPS}_steps"
    return {
        "speedup": before["window_seconds"] / after["window_seconds"],
        "speedup_cpu_time": before["window_cpu_seconds"] / after["window_cpu_seconds"],
        f"speedup_at_{RELEASED_STEPS}_steps": before[at_released] / after[at_released],
        "memory_ratio": after["peak_bytes"] / before["peak_bytes"],
        "memory_ratio_with_weights": (after["peak_bytes"] + after["weights_bytes"])
        / (before["peak_bytes"] + before["weights_bytes"]),
    }


def differences(work: Path, size: Size, baseline: str) -> dict[str, float]:
    """How far the two variants' outputs are apart: decoded video in [-1, 1], and latents."""
    shape = (3, size.geometry.crop_size, size.geometry.crop_size)
    largest = 0.0
    videos = [
        np.memmap(video_file(work, name), np.float32, "r").reshape(-1, *shape) for name in (baseline, EXACT)
    ]
    if len(videos[0]) != len(videos[1]) or len(videos[0]) != size.geometry.clip_frames:
        raise UserError(f"The variants decoded {len(videos[0])} and {len(videos[1])} frames: a bug.")
    spread = max(float(np.ptp(frame)) for frame in videos[1])
    for one, other in zip(*videos, strict=True):
        # Not max(): it would pass over a value that is no number.
        largest = float(np.maximum(largest, np.abs(one - other).max()))
    latents = [load_file(latents_file(work, name))["latents"] for name in (baseline, EXACT)]
    return {
        "max_abs_diff": largest,
        "max_abs_diff_latents": float((latents[0] - latents[1]).abs().max()),
        "output_range": spread,
    }


def _child(options: argparse.Namespace, variant: str, work: Path) -> dict[str, Any]:
    """Run one variant in a new process, which inherits nothing from the other one's memory."""
    words = [sys.executable, str(Path(__file__).resolve()), "--variant", variant, "--work", str(work)]
    for name in ("size", "device", "baseline", "dtype", "steps", "crop", "frames"):
        value = getattr(options, name)
        words += [] if value is None else [f"--{name}", str(value)]
    words += [f"--{name}" for name in ("unguided", "offload") if getattr(options, name)]
    done = subprocess.run(words, check=False)
    file = _result_file(work, variant)
    if done.returncode or not file.exists():
        raise UserError(f"The variant {variant} ended with exit code {done.returncode}; see above.")
    return json.loads(file.read_text())


def _work(options: argparse.Namespace) -> None:
    """What a child does."""
    device = choose_device(options.device)
    keep, warmup = options.baseline != "none", device.type == "cuda"
    job = WindowRun(
        options.variant, _size(options), device, _dtype(options), options.work, keep, warmup, options.offload
    )
    _result_file(options.work, options.variant).write_text(json.dumps(run_window(job)))


def _result_file(work: Path, variant: str) -> Path:
    return work / f"{variant}.json"


def _size(options: argparse.Namespace) -> Size:
    size = named_size(options.size)
    geometry, steps = size.geometry, options.steps or size.diffusion.num_steps
    crop, frames = options.crop or geometry.crop_size, options.frames or geometry.clip_frames
    stride = size.vae.scale_factor_spatial * size.model.patch_size[1]
    if crop % stride or not is_clip_length(frames) or frames < 13:
        raise UserError(
            f"--crop must be a multiple of {stride}, --frames one more than a multiple of 4, at least 13."
        )
    diffusion = replace(size.diffusion, num_steps=steps)
    if options.unguided:
        diffusion = replace(diffusion, reference_scale=1.0, audio_scale=1.0)
    return replace(size, geometry=replace(geometry, crop_size=crop, clip_frames=frames), diffusion=diffusion)


def _dtype(options: argparse.Namespace) -> torch.dtype:
    if options.dtype:
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[options.dtype]
    return torch.bfloat16 if choose_device(options.device).type == "cuda" else torch.float32


def _print(report: dict[str, Any]) -> None:
    geometry = report["geometry"]
    print(
        f"{report['size']} on {report['device']}, {report['dtype']}: dim {geometry['dim']}, "
        f"{geometry['blocks']} blocks, {geometry['tokens']['reference']} + {geometry['tokens']['target']} "
        f"tokens, {geometry['frames']} frames at {geometry['crop']}x{geometry['crop']}, "
        f"{geometry['steps']} steps"
    )
    floor = report["floor"]
    for name, run in report["variants"].items():
        print(f"\n{name}: weights and process {run['weights_bytes'] / 2**30:.2f} GiB; memory is above that")
        print(f"  {'part':<10} {'seconds':>10} {'CPU s':>10} {'peak MiB':>10} {'floor s':>10}")
        for part in PARTS:
            row = run["parts"][part]
            least = f"{floor['seconds'][part]:10.3f}" if name == EXACT and part in WINDOW else ""
            print(
                f"  {part:<10} {row['seconds']:10.3f} {row['cpu_seconds']:10.3f} "
                f"{row['peak_bytes'] / 2**20:10.1f} {least}"
            )
        print("  each step  " + " ".join(f"{seconds:.3f}" for seconds in run["step_seconds"]))
        print(
            f"  window {run['window_seconds']:.3f} s, {run['fps']:.3f} fps pixels to pixels "
            f"({run[f'fps_at_{RELEASED_STEPS}_steps']:.3f} at {RELEASED_STEPS} steps), "
            f"peak {run['peak_bytes'] / 2**20:.1f} MiB"
        )
    print(f"\nmatrix products here: {floor['matmul_flops_per_second'] / 1e12:.3f} TFLOP/s")
    for key in (
        "speedup",
        "speedup_cpu_time",
        f"speedup_at_{RELEASED_STEPS}_steps",
        "memory_ratio",
        "memory_ratio_with_weights",
        "max_abs_diff",
        "max_abs_diff_latents",
    ):
        if key in report:
            print(f"{key:<26} {report[key]:.3g}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=("tiny", "small", "wan5b"), default="small")
    parser.add_argument("--baseline", choices=("none", PER_TOKEN), default="none")
    parser.add_argument("--json", action="store_true", help="print nothing but the JSON line")
    parser.add_argument("--steps", type=positive, help="sampler steps (small: 2, wan5b: 30)")
    parser.add_argument("--unguided", action="store_true", help="one branch per step, as of a student")
    parser.add_argument("--offload", action="store_true", help="blocks wait in main memory; a GPU")
    parser.add_argument("--crop", type=positive, help="side of the crop in pixels")
    parser.add_argument("--frames", type=positive, help="frames of the window")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="default: bfloat16 on a GPU")
    parser.add_argument("--speech", type=Path, help="folder with whisper/ and wav2vec2/ (else random)")
    # How the program calls itself, once per variant.
    parser.add_argument("--variant", choices=(EXACT, PER_TOKEN), help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
