"""What dubbing one window with LTX-2 costs: operations and memory, by running it without numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from common.counted_run import RunCost, counted_run, without_numbers
from common.geometry import GeometryConfig, latents_to_frames
from common.models.ltx2.folder import hollow_part
from common.models.ltx2.inputs import ClipParts
from common.models.ltx2.package import LORA_FILE
from common.models.ltx2.positions import JointClip
from common.models.ltx2.prompts import MAX_TOKENS, prompt_widths
from common.models.ltx2.roles import PromptStates
from common.models.ltx2.settings import FRAME_STRIDE, JointSettings
from common.models.ltx2.transformer import JointTransformer
from common.models.package_info import PackageInfo
from stage2_dubber.dub.cost import WindowCost


def joint_window_cost(
    settings: JointSettings, geometry: GeometryConfig, dtype: torch.dtype, lora: Path | None = None
) -> WindowCost:
    """Count what the computation of a later window does; no weights are read.

    Args:
        settings: with the model's folder.
        geometry: of the clips.
        dtype: of the weights.
        lora: file of the LoRA, whose weights count.

    Raises:
        UserError: the model's folder is not whole.
    """
    folder = Path(settings.model)
    side = geometry.crop_size
    clip = JointClip(geometry.clip_frames, side, side, geometry.fps)
    with without_numbers(dtype):
        plain = hollow_part(folder / "transformer")
        model = JointTransformer(plain, settings.conventions)
        parts = _window(model, clip, geometry.motion_latents)
        widths = prompt_widths(plain.config)
        prompt = PromptStates(*(torch.empty(1, MAX_TOKENS, width) for width in widths))
        noisiest = torch.ones(1)
        forward = _counted(model, lambda: model(parts.inputs(model, prompt, noisiest)))
        vae = hollow_part(folder / "vae")
        video = torch.empty(1, 3, clip.frames, side, side)
        encode = _counted(vae, lambda: vae.encode(video).latent_dist.mode())
        decode = _counted(vae, lambda: vae.decode(parts.video.to(dtype)).sample)
        sound = hollow_part(folder / "audio_vae")
        weights, coding = _bytes(model), _bytes(vae) + _bytes(sound)
    return WindowCost(
        frames=clip.frames - latents_to_frames(geometry.motion_latents, FRAME_STRIDE),
        encode=encode.flops,
        forward=forward.flops,
        decode=decode.flops,
        transformer_bytes=weights + (0 if lora is None else lora.stat().st_size),
        autoencoder_bytes=coding,
        activation_bytes=max(forward.peak_bytes, encode.peak_bytes, decode.peak_bytes),
    )


def joint_package_cost(folder: Path, info: PackageInfo, dtype: torch.dtype) -> WindowCost:
    """As :func:`joint_window_cost`, of the package of LTX-2 in ``folder``."""
    assert info.joint is not None
    lora = folder / LORA_FILE
    return joint_window_cost(info.joint, info.geometry, dtype, lora if lora.is_file() else None)


def guidance_branches(settings: JointSettings, audio_scale: float) -> int:
    """Calls of the transformer in a step."""
    return 1 + (settings.text_scale != 1) + (settings.perturbed_scale != 0) + (audio_scale != 1)


def _window(model: JointTransformer, clip: JointClip, motion: int) -> ClipParts:
    config: Any = model.model.config
    smaller = clip.downscaled(model.conventions.reference_downscale)

    def latents(frames: int, of: JointClip) -> torch.Tensor:
        return torch.empty(1, config.in_channels, frames, *of.grid[1:])

    frames = clip.grid[0]
    audio = torch.empty(1, clip.audio_tokens, config.audio_in_channels)
    return ClipParts(clip, latents(frames, clip), motion, audio, True, latents(frames, smaller))


def _counted(module: torch.nn.Module, run: Any) -> RunCost:
    return counted_run(run, [*module.parameters(), *module.buffers()])


def _bytes(module: torch.nn.Module) -> int:
    return sum(value.numel() * value.element_size() for value in module.parameters())
