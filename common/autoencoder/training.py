"""Training of the small video autoencoder that the tiny configuration uses instead of Wan2.2's.

Loss: L1 of pixels + L1 of spatial differences (edges keep lips and teeth sharp without a pretrained
perceptual network) + a small KL term. A penalty on values beyond [-1, 1] stands in for the gradient that the
decoder's own clamp removes. The saved weights are the moving average; at each save the per-channel mean and
std of its latents are measured and written into the autoencoder's configuration, where the codec reads them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import broadcast, reduce
from torch import Tensor, nn

from common.arithmetic import resolve_precision
from common.autoencoder.codec import build_vae
from common.autoencoder.config import AutoencoderConfig, VaeConfig
from common.autoencoder.video_crops import CropClip, central_window, find_videos, load_clips, random_windows
from common.errors import UserError
from common.files import atomic_dir, fingerprint, require_writable_dir
from common.training.checkpoint import (
    latest_checkpoint,
    load_optimizer,
    optimizer_tensors,
    save_checkpoint,
)
from common.training.ema import ParameterAverage
from common.training.muon import Muon

INITIAL_LOGVAR = -6.0


def latent_divisors(spread: Tensor, whitening: float) -> Tensor:
    """What channels are divided by: ``spread ** whitening``, scaled so that latents have a mean square of 1.

    With principal components (``vae.kind=patch``) a full whitening makes the finest detail as important to a
    diffusion loss as the mean colour of a block, which is a hundred times as strong in the picture.

    Args:
        spread: (z_dim,) standard deviations.
        whitening: 1: the spread itself; 0: one number for all channels.
    """
    divisors = spread**whitening
    return divisors * (spread / divisors).square().mean().sqrt()


def new_autoencoder(config: VaeConfig) -> Any:
    """An untrained autoencoder of this shape whose latent statistics are neutral."""
    vae: Any = build_vae(replace(config, path=""))
    if config.kind == "patch":
        return vae
    with torch.no_grad():
        # A fresh posterior has unit variance: noise as strong as the signal, which the decoder would spend
        # its first thousand steps on.
        vae.quant_conv.bias[config.z_dim :] = INITIAL_LOGVAR
    return vae


def autoencoder_loss(
    vae: Any, video: Tensor, kl_weight: float, edge_weight: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss of a video (B, 3, N, H, W) in [-1, 1] -> scalar, and its parts, detached."""
    posterior = vae.encode(video).latent_dist
    decoded, beyond = _decode(vae, posterior.sample())
    pixel = (decoded - video).abs().mean()
    error = decoded - video
    edge = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    mean, logvar = posterior.mean.float(), posterior.logvar.float()
    kl = 0.5 * (mean.square() + logvar.exp() - 1.0 - logvar).mean()
    loss = pixel + edge_weight * edge + kl_weight * kl + beyond
    parts = {"l1": pixel, "edge": edge, "kl": kl}
    return loss, {name: value.detach() for name, value in parts.items()}


def _decode(vae: Any, latents: Tensor) -> tuple[Tensor, Tensor]:
    """The clamped video, and by how much the decoder went beyond [-1, 1] on average."""
    if not hasattr(vae, "decoder"):
        raw = vae.decode_unclamped(latents).float()
        return raw.clamp(-1.0, 1.0), (raw.abs() - 1).relu().mean()
    beyond: list[Tensor] = []
    # The decoder works frame by frame and is clamped only afterwards: this sees each chunk before that.
    hook = vae.decoder.register_forward_hook(
        lambda _m, _i, out: beyond.append((out.float().abs() - 1).relu().mean())
    )
    try:
        return vae.decode(latents).sample.float(), torch.stack(beyond).mean()
    finally:
        hook.remove()


class AutoencoderTrainer:
    """Trains one autoencoder; run it again to continue.

    Under ``torchrun`` every process takes ``frames_per_step`` frames of its own; gradients are averaged. On a
    CPU one process with one thread per core is faster than one process with many: the layers are small.
    """

    def __init__(
        self, config: AutoencoderConfig, vae_config: VaeConfig, crop_size: int, clip_frames: int
    ) -> None:
        """``clip_frames``: length of the model's clips, at which latents and held-out PSNR are measured: an
        autoencoder that only saw shorter windows drifts beyond them."""
        if not config.output:
            raise UserError(
                "autoencoder.output is empty; give the folder that the autoencoder shall be written to."
            )
        self.config, self.crop_size, self.clip_frames = config, crop_size, clip_frames
        self.output = require_writable_dir(config.output)
        self.processes = PartialState(cpu=torch.device(config.device).type == "cpu")
        self.train_clips, self.held_out_clips = self._load_clips()
        torch.manual_seed(config.seed)
        self.vae = new_autoencoder(vae_config).to(config.device)
        self.parameters = dict(self.vae.named_parameters())
        self.optimizer = Muon(self.parameters.values(), lr=config.learning_rate)
        self.precision = resolve_precision(config.mixed_precision, config.device)
        self.average = ParameterAverage(self.parameters, config.ema_decay)
        # What a checkpoint must agree with; limits and logging may change between runs.
        self.identity = fingerprint({"vae": asdict(vae_config), "crop_size": crop_size})
        self.step, self.seconds_before = 0, 0.0
        self._resume()

    def run(self, report: Callable[[str], None] = print) -> dict[str, float]:
        """Train to the limit, save, and return the held-out PSNR in dB and the steps made."""
        config = self.config
        started, saved, logged_at = time.monotonic(), time.monotonic(), self.step
        logged_time = started
        main = self.processes.is_main_process
        while self.step < config.max_steps and (progress := self._progress(started)) < 1.0:
            loss, parts = self._train_step(progress)
            if main and not self.step % config.log_every:
                now = time.monotonic()
                seconds = (now - logged_time) / (self.step - logged_at)
                logged_time, logged_at = now, self.step
                values = " ".join(f"{name} {float(value):.4f}" for name, value in parts.items())
                left = self._seconds_left(started, seconds)
                report(
                    f"step {self.step}/{config.max_steps} loss {float(loss):.4f} {values} "
                    f"{seconds:.2f} s/step, {left / 60:.0f} min left"
                )
            if main and time.monotonic() - saved > 60 * config.save_minutes:
                report(f"step {self.step} held-out PSNR {self.save(started):.2f} dB, saved")
                saved = time.monotonic()
        psnr = self.save(started) if main else math.nan
        if main:
            report(f"step {self.step} held-out PSNR {psnr:.2f} dB, written to {self.output / 'vae'}")
        return {"psnr_db": psnr, "steps": float(self.step)}

    def save(self, started: float) -> float:
        """Write the resumable state and the autoencoder itself; returns the held-out PSNR in dB."""
        meta: dict[str, Any] = {
            "identity": self.identity,
            "ema_updates": self.average.updates,
            "seconds": self._seconds(started),
        }
        groups = {
            "model": self.parameters,
            "ema": self.average.averages,
            "optimizer": optimizer_tensors(self.optimizer, self.parameters),
        }
        with self.average.applied():
            mean, std = self._latent_statistics()
            psnr = self._held_out_psnr()
            self.vae.register_to_config(latents_mean=mean, latents_std=std)
            with atomic_dir(self.output / "vae") as temporary:
                self.vae.save_pretrained(temporary)
        save_checkpoint(self.output, self.step, groups, {**meta, "psnr_db": psnr}, keep=1)
        return psnr

    def _load_clips(self) -> tuple[list[CropClip], list[CropClip]]:
        config = self.config
        videos = find_videos(config.folders)
        # Spread over the sorted list, so that each folder gives some.
        step = max(2, round(1 / max(config.held_out, 1e-6)))
        held = videos[:: min(step, len(videos))] if len(videos) > 1 else videos
        kept = [video for video in videos if video not in set(held)] or videos
        shortest = max(*config.window_frames, self.clip_frames)
        return (
            load_clips(kept, self.crop_size, config.max_frames, shortest),
            load_clips(held, self.crop_size, shortest * len(held), shortest),
        )

    def _resume(self) -> None:
        checkpoint = latest_checkpoint(self.output)
        if checkpoint is None:
            if hasattr(self.vae, "fit_linear"):
                self._fit_linear()
            return
        if checkpoint.meta.get("identity") != self.identity:
            raise UserError(
                f"{checkpoint.folder}: was made with another vae section or crop size; "
                "use another autoencoder.output."
            )
        checkpoint.read("model", self.parameters)
        load_optimizer(self.optimizer, self.parameters, checkpoint)
        checkpoint.read("ema", self.average.averages)
        self.average.updates = checkpoint.meta["ema_updates"]
        self.step, self.seconds_before = checkpoint.step, checkpoint.meta["seconds"]

    def _fit_linear(self) -> None:
        """Start from the principal components of the training videos."""
        rng = np.random.default_rng([self.config.seed, 2**30])
        frames, size = max(self.config.window_frames), self.crop_size
        windows = [
            random_windows(self.train_clips, rng, 1, frames, size)[0]
            for _ in range(self.config.stats_windows)
        ]
        self.vae.fit_linear(windows)
        self.average.restart()

    def _train_step(self, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        config = self.config
        rng = np.random.default_rng([config.seed, self.step, self.processes.process_index])
        frames = int(rng.choice(config.window_frames))
        count = max(1, config.frames_per_step // frames)
        video = random_windows(
            self.train_clips, rng, count, frames, self.crop_size, config.window_size or self.crop_size
        ).to(config.device)
        # Also the posterior's noise is a function of the step, so that a resumed run repeats it.
        torch.manual_seed(int(rng.integers(2**62)))
        warm = min(1.0, (self.step + 1) / max(1, config.warmup_steps))
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * progress))
        with self._autocast():
            loss, parts = autoencoder_loss(self.vae, video, config.kl_weight, config.edge_weight)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._average_gradients()
        nn.utils.clip_grad_norm_(self.parameters.values(), config.grad_clip)
        self.optimizer.step()
        self.average.update()
        self.step += 1
        return loss.detach(), parts

    def _average_gradients(self) -> None:
        if self.processes.num_processes == 1:
            return
        gradients = [value.grad for value in self.parameters.values() if value.grad is not None]
        flat = nn.utils.parameters_to_vector(gradients)
        nn.utils.vector_to_parameters(reduce(flat, "mean"), gradients)

    @torch.no_grad()
    def _latent_statistics(self) -> tuple[list[float], list[float]]:
        """Per-channel mean and divisor of the posterior's mode over random training windows."""
        rng = np.random.default_rng([self.config.seed, 2**31])
        means = []
        for _ in range(self.config.stats_windows):
            video = random_windows(self.train_clips, rng, 1, self.clip_frames, self.crop_size)
            means.append(self._encode(video.to(self.config.device)).transpose(0, 1).flatten(1).cpu())
        values = torch.cat(means, dim=1).double()
        spread = values.std(dim=1).clamp_min(1e-6)
        return values.mean(dim=1).tolist(), latent_divisors(spread, self.config.whitening).tolist()

    @torch.no_grad()
    def _held_out_psnr(self) -> float:
        """PSNR in dB (peak 2 for values in [-1, 1]) of the mean squared error over all held-out windows."""
        errors = []
        for clip in self.held_out_clips:
            video = central_window(clip, self.clip_frames, self.crop_size)[None].to(self.config.device)
            latents = self._encode(video)
            with self._autocast():
                decoded = self.vae.decode(latents).sample.float()
            errors.append((decoded - video).square().mean().item())
        return 10 * math.log10(4.0 / max(float(np.mean(errors)), 1e-12))

    def _encode(self, video: Tensor) -> Tensor:
        with self._autocast():
            return self.vae.encode(video).latent_dist.mode().float()

    def _autocast(self) -> torch.autocast:
        narrow = self.precision == torch.bfloat16
        return torch.autocast(torch.device(self.config.device).type, dtype=torch.bfloat16, enabled=narrow)

    def _seconds(self, started: float) -> float:
        return self.seconds_before + time.monotonic() - started

    def _progress(self, started: float) -> float:
        by_steps = self.step / self.config.max_steps
        limit = 60 * self.config.time_limit_minutes
        if not limit:
            return by_steps
        progress = max(by_steps, self._seconds(started) / limit)
        if self.processes.num_processes == 1:
            return progress
        # All processes must agree when to stop.
        return float(broadcast(torch.tensor(progress, device=self.config.device)))

    def _seconds_left(self, started: float, seconds_per_step: float) -> float:
        left = (self.config.max_steps - self.step) * seconds_per_step
        limit = 60 * self.config.time_limit_minutes
        return max(0.0, min(left, limit - self._seconds(started)) if limit else left)


def parameter_count(vae: nn.Module) -> int:
    return sum(value.numel() for value in vae.parameters())


def describe_autoencoder(
    config: AutoencoderConfig, vae_config: VaeConfig, crop_size: int, clip_frames: int
) -> Sequence[str]:
    """Lines for --dry-run: everything derived from the configuration."""
    with torch.device("meta"):
        vae = new_autoencoder(vae_config)
    side = crop_size / vae_config.scale_factor_spatial
    longest = clip_frames
    latent_values = vae_config.z_dim * ((longest - 1) // 4 + 1) * side * side
    return [
        f"parameters             {parameter_count(vae):,}",
        f"latents of {longest:3d} frames  ({vae_config.z_dim}, {(longest - 1) // 4 + 1}, {side:g}, {side:g})",
        f"compression            {3 * longest * crop_size**2 / latent_values:.1f} x in numbers",
        f"videos                 {len(find_videos(config.folders))}",
        f"memory for crops       {config.max_frames * 3 * (1.25 * crop_size) ** 2 / 2**30:.2f} GiB at most",
        f"steps                  {config.max_steps}"
        + (f" or {config.time_limit_minutes:g} minutes" if config.time_limit_minutes else ""),
        f"output                 {Path(config.output) / 'vae'}",
    ]
