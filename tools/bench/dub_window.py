"""One window dubbed by one variant, part by part, and the least that its arithmetic could take."""

from __future__ import annotations

import gc
import statistics
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from dub_measure import Parts, PeakMemory, Tape
from dub_sizes import Size, hollow_codec, hollow_transformer, random_autoencoder, random_transformer
from numpy.typing import NDArray
from per_token import PerTokenTransformer, TwiceDecodedCodec
from safetensors.torch import load_file, save_file

from common.autoencoder.codec import VideoCodec
from common.autoencoder.stream import StreamDecoder
from common.diffusion.guidance import build_guidance
from common.diffusion.sampler import build_sampler
from common.media import load_audio
from common.models.package import ModelPackage
from common.models.package_info import PackageInfo
from common.models.speed import SpeedConfig
from common.models.switches import place_transformer
from common.speech.pretrained import PretrainedEncoder
from common.training.flops import Shape, token_counts
from common.training.peak import measured_peak
from stage2_dubber.dub.cost import window_cost, window_shape
from stage2_dubber.dub.doctor import MIDDLE_SIGMA
from stage2_dubber.dub.editing.editor import WindowEditor
from stage2_dubber.dub.job import FacePlan, composited_frames, plan_face
from stage2_dubber.dub.request import DubRequest

EXACT, PER_TOKEN = "exact", "per-token"
RELEASED_STEPS = 30
WINDOW = ("encode", "step", "decode")
"""The parts from pixels to pixels, which rates and ratios are about."""


@dataclass(frozen=True)
class WindowRun:
    """What to run. ``folder`` holds the inputs of ``dub_sizes.write_inputs``; outputs are kept there too if
    ``keep``. ``offload``: the blocks wait in main memory."""

    variant: str
    size: Size
    device: torch.device
    dtype: torch.dtype
    folder: Path
    keep: bool
    warmup: bool
    offload: bool = False


class TimedCodec(VideoCodec):
    """The product's codec with a clock."""

    def __init__(self, vae: Any, parts: Parts, tape: Tape) -> None:
        super().__init__(vae)
        self.parts, self.tape = parts, tape

    @torch.no_grad()
    def encode_frames(self, frames: NDArray[np.uint8]) -> torch.Tensor:
        self.parts.start("encode")
        latents = super().encode_frames(frames)
        self.parts.start("step")
        return latents

    @torch.no_grad()
    def decode_frames(self, latents: torch.Tensor, decoder: StreamDecoder | None = None) -> NDArray[np.uint8]:
        self.parts.start("decode")
        with self.parts.apart():
            self.tape.latents(latents)
        frames = super().decode_frames(latents, decoder)
        self.parts.start("composite")
        return frames

    def decode_pieces(self, latents: torch.Tensor, decoder: StreamDecoder | None = None) -> Any:
        for piece in super().decode_pieces(latents, decoder):
            with self.parts.apart():
                self.tape.video(piece)
            yield piece


def run_window(job: WindowRun) -> dict[str, Any]:
    """Dub the one window and say what its parts took. All code but the baseline's is what dubs for users.

    Raises:
        UserError: blocks cannot be offloaded from this device.
    """
    size, device = job.size, job.device
    exact = job.variant == EXACT
    speech = PretrainedEncoder(job.folder / "speech", device)
    transformer: Any = random_transformer(size, device, job.dtype)
    place_transformer(transformer, device, SpeedConfig(offload=job.offload))
    vae = random_autoencoder(size, device, job.dtype)
    context_file = job.folder / "context.safetensors"
    if not context_file.exists():
        save_file({"context": empty_prompt(size)}, context_file)
    request = DubRequest(
        job.folder / "clip.mp4", job.folder / "speech.wav", job.folder / "out.mp4", box=size.box
    )
    plan = plan_face(request, size.geometry.crop_scale, size.geometry.fps, lambda *_: None)
    assert plan.model_frames == size.geometry.clip_frames
    memory = PeakMemory(device)
    parts = Parts(device, memory)

    parts.start("text")
    context = load_file(context_file, device=str(device))["context"] if size.model.text_tokens else None
    parts.start("audio")
    features = speech.encode(load_audio(request.audio))
    parts.stop()

    info = PackageInfo(2, "bench", size.geometry, size.speech, size.diffusion)

    def window(own: Parts, tape: Tape, steps: int) -> None:
        codec = (TimedCodec if exact else TwiceDecodedCodec)(vae, own, tape)
        model: Any = transformer if exact else PerTokenTransformer(transformer)
        package = ModelPackage(info, model, codec, context, job.folder)
        sampling = replace(size.diffusion, num_steps=steps)
        # No overlap: parts that run at once have no times of their own.
        editor = WindowEditor(
            package,
            advance=lambda _: own.start("step"),
            sampler=build_sampler(sampling, batch_branches=not exact),
            overlap=False,
        )
        _dub(request.video, plan, editor, features, own)

    if job.warmup:
        window(Parts(device, memory), Tape(None, job.variant), 1)
    gc.collect()
    window(parts, Tape(job.folder if job.keep else None, job.variant), size.diffusion.num_steps)
    return _report(job, parts, memory)


def _dub(video: Path, plan: FacePlan, editor: WindowEditor, features: NDArray, parts: Parts) -> None:
    parts.start("crops")
    for _ in composited_frames(video, plan, editor, features):
        pass
    parts.stop()


def empty_prompt(size: Size) -> torch.Tensor:
    """(1, L, text_dim): states for the one token of an empty prompt, then the release's zeros."""
    states = torch.zeros(1, max(size.model.text_tokens, 1), size.model.text_dim)
    states[:, 0] = torch.randn(size.model.text_dim, generator=torch.Generator().manual_seed(0))
    return states


def _report(job: WindowRun, parts: Parts, memory: PeakMemory) -> dict[str, Any]:
    # After the last step another one was begun and never done: it holds nothing but a few copies.
    steps = job.size.diffusion.num_steps
    readings = {name: each[:steps] if name == "step" else each for name, each in parts.readings.items()}
    table = {
        name: {
            "seconds": sum(reading.seconds for reading in each),
            "cpu_seconds": sum(reading.cpu_seconds for reading in each),
            "peak_bytes": max(reading.peak_bytes for reading in each),
        }
        for name, each in readings.items()
    }
    each_step = [reading.seconds for reading in readings["step"]]
    others = table["encode"]["seconds"] + table["decode"]["seconds"]
    per_step = statistics.median(each_step)
    window, released = others + sum(each_step), others + RELEASED_STEPS * per_step
    frames = job.size.geometry.clip_frames
    return {
        "variant": job.variant,
        "parts": table,
        "step_seconds": each_step,
        "window_seconds": window,
        "window_cpu_seconds": sum(table[name]["cpu_seconds"] for name in WINDOW),
        f"window_seconds_at_{RELEASED_STEPS}_steps": released,
        "fps": frames / window,
        f"fps_at_{RELEASED_STEPS}_steps": frames / released,
        "peak_bytes": max(table[name]["peak_bytes"] for name in WINDOW),
        "weights_bytes": memory.before,
        "memory_method": memory.method,
    }


def floors(size: Size, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Seconds that the matrix products and convolutions of a window take at the device's measured rate.

    Only what the exact mode computes: nothing of the reference behind the last block's attention, one decode.
    """
    rate = measured_peak(device, dtype)
    cost = window_cost(hollow_transformer(size), hollow_codec(size), size.geometry, size.speech.extra_window)
    branches = len(build_guidance(size.diffusion).weights(MIDDLE_SIGMA))
    step = branches * cost.forward * size.diffusion.num_steps
    flops = {"encode": cost.encode, "step": step, "decode": cost.decode}
    return {
        "matmul_flops_per_second": rate,
        "flops": flops,
        "seconds": {name: value / rate for name, value in flops.items()},
    }


def latent_shape(size: Size) -> Shape:
    return window_shape(hollow_codec(size), size.geometry, size.speech.extra_window)


def describe(size: Size) -> dict[str, Any]:
    """The geometry, for the report."""
    reference, target = token_counts(size.model, latent_shape(size))
    return {
        "dim": size.model.dim,
        "blocks": size.model.num_layers,
        "tokens": {"reference": reference, "target": target},
        "latents": list(asdict(latent_shape(size)).values())[1:4],
        "frames": size.geometry.clip_frames,
        "crop": size.geometry.crop_size,
        "steps": size.diffusion.num_steps,
        "autoencoder": {"encoder": size.vae.base_dim, "decoder": size.vae.decoder_base_dim},
    }
