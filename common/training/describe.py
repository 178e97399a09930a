"""What a configuration amounts to: every derived number, for ``--dry-run``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
from torch import nn

from common.data.index import read_index
from common.diffusion.config import DiffusionConfig
from common.diffusion.sampler import build_sampler
from common.geometry import latents_to_frames
from common.training.config import Company, FlowTrainingConfig
from common.training.estimate import Run, estimate_rows
from common.training.layout import ProcessLayout

Rows = list[tuple[str, str]]


def describe(
    config: Any,
    builders: Mapping[str, Callable[[], nn.Module]] | None = None,
    *,
    world_size: int = 1,
    reference_frames: int | None = None,
    samples: int | None = None,
    shards: int | None = None,
    company: Company | None = None,
) -> str:
    """The derived numbers of ``config`` as an aligned text table (returned, not printed).

    Args:
        config: any root configuration; sections that it lacks are left out.
        builders: name -> callable that builds that model; called under the meta device, so that the
            parameters of a 5B model are counted without memory.
        world_size: number of training processes.
        reference_frames: reference latents of the temporal layout; the spatial one has as many as the target.
        samples: size of the data set; read from the index files in ``data.shards`` when left out.
        shards: number of shards; likewise.
        company: what the training holds and computes besides the model; None: nothing.

    Raises:
        UserError: the batch arithmetic does not divide, or an index of ``data.shards`` cannot be read.
    """
    if samples is None and getattr(config, "data", None) and config.data.shards:
        samples, shards = _count_data(config.data.shards)
    rows: Rows = []
    rows += _clip_rows(config)
    rows += _token_rows(config, reference_frames)
    rows += [(f"parameters, {name}", _count(build)) for name, build in (builders or {}).items()]
    rows += _training_rows(config, world_size, samples, shards)
    rows += _estimates(config, builders or {}, reference_frames, world_size, company or Company())
    width = max((len(label) for label, _ in rows), default=0)
    return "\n".join(f"{label:<{width}}  {value}" for label, value in rows)


def _clip_rows(config: Any) -> Rows:
    geometry, vae = getattr(config, "geometry", None), getattr(config, "vae", None)
    if geometry is None:
        return []
    size, frames = geometry.crop_size, geometry.clip_frames
    motion = latents_to_frames(geometry.motion_latents) if geometry.motion_latents else 0
    rows = [
        (
            "clip",
            f"{frames} frames of {size}x{size} px at {geometry.fps:g} fps = {frames / geometry.fps:.2f} s",
        ),
        (
            "window stride",
            f"{frames - motion} frames ({geometry.motion_latents} motion latents = {motion} frames)",
        ),
    ]
    if vae is not None:
        side = size // vae.scale_factor_spatial
        rows.append(("latent shape", f"({vae.z_dim}, {geometry.latent_frames}, {side}, {side})"))
    return rows


def _token_rows(config: Any, reference_frames: int | None) -> Rows:
    model, vae, geometry = (getattr(config, name, None) for name in ("model", "vae", "geometry"))
    rows: Rows = []
    if model and vae and geometry:
        side = geometry.crop_size // vae.scale_factor_spatial
        per_frame = (side // model.patch_size[1]) * (side // model.patch_size[2])
        frames = geometry.latent_frames // model.patch_size[0]
        if model.reference_layout == "spatial":
            reference_frames = frames
        rows.append(("tokens per latent frame", f"{per_frame:,}"))
        if reference_frames is None:
            rows.append(
                ("tokens per window", f"{frames * per_frame:,} target + {per_frame:,} per reference frame")
            )
        else:
            target, reference = frames * per_frame, reference_frames * per_frame
            rows.append(
                ("tokens per window", f"{target + reference:,} = {reference:,} reference + {target:,} target")
            )
    speech = getattr(config, "speech", None)
    if speech:
        window = 8 + 2 * speech.extra_window
        rows.append(("speech per latent frame", f"{window} features x {speech.channels} ({speech.encoder})"))
    diffusion = getattr(config, "diffusion", None)
    if diffusion:
        rows.append(
            (
                "sampler",
                f"{diffusion.passes} x {diffusion.num_steps} steps, {_model_calls(diffusion)} model calls "
                "per window",
            )
        )
    return rows


def _model_calls(diffusion: DiffusionConfig) -> int:
    """Of one window: the branches of guidance that have a weight, at every step of every pass."""
    sampler = build_sampler(diffusion)
    levels = sampler.flow.sigmas(diffusion.num_steps)[:-1].tolist()
    return diffusion.passes * sum(len(sampler.guidance.weights(t)) for t in levels)


def _training_rows(config: Any, world: int, samples: int | None, shards: int | None) -> Rows:
    rows: Rows = []
    if samples is not None:
        rows.append(
            ("data", f"{samples:,} samples" + (f" in {shards:,} shards" if shards is not None else ""))
        )
    if isinstance(config, FlowTrainingConfig) and config.phase_summary:
        rows.append(("phase", config.phase_summary))
    train = getattr(config, "train", None)
    if train:
        layout = ProcessLayout(world, context=train.context_parallel)
        micro, total = train.micro_batch_size, train.global_batch_size
        passes = layout.accumulation(total, micro)
        what = f"{layout.data_world} groups of {layout.context}" if layout.context > 1 else f"{world} world"
        rows.append(("global batch", f"{total} = {micro} micro x {passes} accumulation x {what}"))
        seen = train.max_steps * total
        epochs = f" = {seen / samples:.2f} epochs" if samples else ""
        rows.append(("training", f"{train.max_steps:,} steps, {seen:,} samples seen{epochs}"))
    return rows


def _estimates(
    config: Any,
    builders: Mapping[str, Callable[[], nn.Module]],
    reference_frames: int | None,
    world: int,
    company: Company,
) -> Rows:
    """Compute, time and memory of a training of the transformer, where the configuration tells them."""
    if "transformer" not in builders or not isinstance(config, FlowTrainingConfig):
        return []
    if config.model.reference_layout == "spatial":
        reference_frames = config.geometry.latent_frames
    if reference_frames is None:
        return []
    decoder = _parameters(builders["autoencoder"])[0] if "autoencoder" in builders else 0
    total = _parameters(builders["transformer"])[0]
    return estimate_rows(Run(config, total, reference_frames, world, decoder, company))


def _count_data(paths: list[str]) -> tuple[int, int]:
    indices = [read_index(path) for path in paths]
    return sum(index.num_samples for index in indices), sum(len(index.shards) for index in indices)


def _count(build: Callable[[], nn.Module]) -> str:
    total, trained = _parameters(build)
    return f"{total:,}" + (f" ({trained:,} trained)" if trained != total else "")


@cache
def _parameters(build: Callable[[], nn.Module]) -> tuple[int, int]:
    """Parameters in all and those with a gradient, counted without memory for them."""
    with torch.device("meta"):
        model = build()
    total = sum(parameter.numel() for parameter in model.parameters())
    return total, sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
