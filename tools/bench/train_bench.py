"""How fast a training step of the dubbing transformer is, against a named baseline in the same run.

    python tools/bench/train_bench.py --size wan5b --precision bfloat16 --compile --baseline eager

Random weights and inputs of the given geometry, the trainer's optimiser, timer and count of operations.
Prints a table and, as the last line, JSON. MFU is useful FLOP/s over the rate of a large matrix product
measured on the same device; what gradient checkpointing computes twice is not useful.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from bench_arguments import positive

from common.command import exit_code_of
from common.config import load_config
from common.errors import UserError
from common.geometry import frames_to_latents, is_clip_length
from common.models.adapters import add_adapter
from common.models.conditions import ModelConditions
from common.models.config import ModelConfig
from common.models.transformer import build_transformer
from common.training.config import OptimisationConfig
from common.training.distribute import clip_gradients, data_mesh, shard_model
from common.training.flops import Adapters, Shape, training_cost
from common.training.peak import data_sheet_peak, measured_peak
from common.training.state import build_optimizer
from common.training.timing import StepTimer
from stage2_dubber.config import Stage2Config

CONFIGS = Path(__file__).resolve().parent.parent.parent / "configs"
SIZES: dict[str, dict[str, Any]] = {
    "reduced": {"dim": 768, "num_heads": 12, "num_layers": 12, "ffn_dim": 3072, "text_tokens": 0},
    "wan1.3b": {"dim": 1536, "num_heads": 12, "num_layers": 30, "ffn_dim": 8960},
    "wan5b": {},
}
BASELINES = ("plain", "float32", "eager", "no-checkpointing", "checkpointing", "none")
LORA = (
    "self_attn.to_q",
    "self_attn.to_k",
    "self_attn.to_v",
    "self_attn.to_out.0",
    "ffn.net.0.proj",
    "ffn.net.2",
)


@dataclass(frozen=True)
class StepVariant:
    """How a step is computed; the geometry is the same for all."""

    name: str
    precision: str
    checkpointing: bool
    compiled: bool


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)

    def work() -> None:
        results = run(options)
        for row in results["variants"]:
            _print_row(row)
        for name, value in results["ratios"].items():
            print(f"{name:<24} {value:.3f}")
        print(json.dumps(results))

    return exit_code_of(work)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure the asked variant and its baseline."""
    device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: there is no GPU here.")
    model, shape = geometry(options)
    asked = StepVariant("asked", options.precision, options.checkpointing, options.compile)
    variants = [asked] if options.baseline == "none" else [baseline_of(asked, options.baseline), asked]
    rows = [measure(variant, model, shape, device, options) for variant in variants]
    ratios = {}
    if len(rows) == 2:
        before, after = rows
        for what in ("seconds_per_step", "tokens_per_second", "mfu", "peak_memory_gib"):
            if before[what] and after[what]:
                ratios[f"{what} / {options.baseline}"] = after[what] / before[what]
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return {
        "size": options.size,
        "device": name,
        "torch": torch.__version__,
        "trains": "lora" if options.lora else "all",
        "sharding": options.sharding,
        "shape": asdict(shape),
        "variants": rows,
        "ratios": ratios,
    }


def baseline_of(asked: StepVariant, name: str) -> StepVariant:
    """The asked variant with one thing, or with ``plain`` everything, as it is without the options."""
    changes: dict[str, dict[str, Any]] = {
        "plain": {"precision": "float32", "checkpointing": False, "compiled": False},
        "float32": {"precision": "float32"},
        "eager": {"compiled": False},
        "checkpointing": {"checkpointing": True},
        "no-checkpointing": {"checkpointing": False},
    }
    baseline = replace(asked, name=name, **changes[name])
    if replace(baseline, name=asked.name) == asked:
        raise UserError(f"--baseline {name} is what the other options ask for: there is nothing to compare.")
    return baseline


def geometry(options: argparse.Namespace) -> tuple[ModelConfig, Shape]:
    """The model, and one micro-batch of pairs for it."""
    files = [CONFIGS / ("tiny.yaml" if options.size == "tiny" else "wan5b.yaml")]
    config = load_config(Stage2Config, files)
    model = replace(config.model, **SIZES.get(options.size, {}))
    crop, frames = options.crop or config.geometry.crop_size, options.frames or config.geometry.clip_frames
    side, step = (
        crop // config.vae.scale_factor_spatial,
        config.vae.scale_factor_spatial * model.patch_size[1],
    )
    if crop % step or not is_clip_length(frames):
        raise UserError(f"--crop must be a multiple of {step}, --frames one more than a multiple of 4.")
    latents = frames_to_latents(frames)
    window = 8 + 2 * config.speech.extra_window
    return model, Shape(options.micro_batch, latents, side, side, latents, window)


def measure(
    variant: StepVariant, config: ModelConfig, shape: Shape, device: torch.device, options: argparse.Namespace
) -> dict[str, Any]:
    """Seconds by part, rates and peak memory of ``options.steps`` steps after ``options.warmup``."""
    _reset_memory(device)
    torch.manual_seed(0)
    with torch.device(device):
        model: Any = build_transformer(config).train()
    adapters = None
    if options.lora:
        add_adapter(model, "lip", options.lora, float(options.lora), LORA)
        adapters = Adapters(options.lora, LORA)
    if variant.checkpointing:
        model.enable_gradient_checkpointing()
    half = variant.precision == "bfloat16"
    if options.sharding == "fsdp2":
        shard_model(model, data_mesh(device), half)
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    optimizer = build_optimizer(trained, OptimisationConfig(learning_rate=1e-6))
    if variant.compiled:
        model.compile_repeated_blocks()
    inputs, target = _inputs(config, shape, device)
    timer = StepTimer(device)
    for step in range(options.warmup + options.steps):
        if step == options.warmup:
            timer.drain()
        timer.start()
        with torch.autocast(device.type, torch.bfloat16) if half else nullcontext():
            velocity = model(**inputs)
        loss = (velocity.float() - target).square().mean()
        timer.lap("forward")
        loss.backward()
        timer.lap("backward")
        clip_gradients(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        timer.lap("optimizer")
    parts = {name: seconds / options.steps for name, seconds in timer.drain().items()}
    seconds = sum(parts.values())
    cost = training_cost(config, shape, adapters)
    peak, sheet = measured_peak(device, torch.bfloat16 if half else torch.float32), data_sheet_peak(device)
    row = {
        **asdict(variant),
        "seconds_per_step": seconds,
        "parts": parts,
        "tokens_per_second": cost.tokens / seconds,
        "tflops": cost.flops / seconds / 1e12,
        "measured_peak_tflops": peak / 1e12,
        "mfu": cost.flops / seconds / peak,
        "mfu_datasheet": cost.flops / seconds / sheet if sheet and half else None,
        "peak_memory_gib": _peak_memory(device),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "loss": float(loss.detach()),
    }
    del model, optimizer, trained, inputs, target, velocity, loss
    gc.collect()
    return row


def _inputs(config: ModelConfig, shape: Shape, device: torch.device) -> tuple[dict[str, Any], torch.Tensor]:
    generator = torch.Generator().manual_seed(1)

    def noise(*size: int) -> torch.Tensor:
        return torch.randn(size, generator=generator).to(device)

    size = (shape.batch, config.latent_channels, shape.frames, shape.height, shape.width)
    latents = noise(*size)
    timestep = 1000 * torch.rand(shape.batch, generator=generator).to(device)
    conditions = ModelConditions(
        reference=noise(*size),
        audio_features=noise(shape.batch, shape.frames, shape.window, config.audio_channels),
        text=noise(1, config.text_tokens, config.text_dim) if config.text_tokens else None,
    )
    return {"latents": latents, "timestep": timestep, "conditions": conditions}, noise(*size)


def _reset_memory(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def _peak_memory(device: torch.device) -> float:
    """GiB: of tensors on a GPU since the reset; on a CPU of the whole process so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    # Kibibytes on Linux, bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def _print_row(row: dict[str, Any]) -> None:
    parts = ", ".join(f"{name} {seconds:.4g} s" for name, seconds in row["parts"].items())
    sheet = f", {row['mfu_datasheet']:.1%} of the data sheet's" if row["mfu_datasheet"] else ""
    print(
        f"{row['name']:<17} {row['precision']:<8} checkpointing {row['checkpointing']!s:<5} "
        f"compiled {row['compiled']!s:<5} {row['seconds_per_step']:.4g} s per step ({parts}), "
        f"{row['tokens_per_second']:,.0f} tokens/s, {row['tflops']:.3g} TFLOP/s, MFU {row['mfu']:.1%} of the "
        f"measured rate{sheet}, peak {row['peak_memory_gib']:.2f} GiB"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Time a training step of the dubbing transformer.")
    parser.add_argument("--size", choices=("tiny", *SIZES), default="tiny")
    parser.add_argument("--micro-batch", type=positive, default=1)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--checkpointing", action="store_true", help="gradient checkpointing")
    parser.add_argument("--compile", action="store_true", help="compile the blocks")
    parser.add_argument(
        "--lora", type=int, default=0, metavar="RANK", help="train an adapter, not everything"
    )
    parser.add_argument(
        "--sharding",
        choices=("none", "fsdp2"),
        default="none",
        help="as the trainer splits, over one process",
    )
    parser.add_argument("--baseline", choices=BASELINES, default="none")
    parser.add_argument("--steps", type=positive, default=10)
    parser.add_argument(
        "--warmup", type=positive, default=3, help="steps before the clock, compiling included"
    )
    parser.add_argument("--crop", type=positive, default=None, help="side of the clips in pixels")
    parser.add_argument("--frames", type=positive, default=None)
    parser.add_argument("--device", default=None)
    return parser


if __name__ == "__main__":
    sys.exit(main())
