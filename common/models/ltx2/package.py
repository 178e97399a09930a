"""A package of LTX-2: what it takes to dub with a folder of the model, which it refers to.

bootdub.json         as in all packages, and how LTX-2 is used (``joint``), with the model's folder
prompt.safetensors   the states of the constant prompt (:mod:`common.models.ltx2.prompts`)
lora.safetensors     the in-context LoRA as it was published, where there is one
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from common.errors import UserError
from common.files import read_json
from common.geometry import GeometryConfig, latents_to_frames
from common.models.conventions import SeamRule
from common.models.load import load_strictly
from common.models.ltx2.codecs import JointAudioCodec, JointVideoCodec, JointVocoder
from common.models.ltx2.folder import CLASSES, CODECS, folder_fingerprint, load_joint_transformer
from common.models.ltx2.lora import attach_lora, read_lora
from common.models.ltx2.positions import JointClip
from common.models.ltx2.prompts import StoredPrompts, read_prompts
from common.models.ltx2.settings import FRAME_STRIDE, PIXEL_STRIDE, JointSettings
from common.models.ltx2.transformer import JointTransformer
from common.models.package_info import PackageInfo, read_info
from common.models.speed import SpeedConfig

PROMPT_FILE = "prompt.safetensors"
LORA_FILE = "lora.safetensors"
_LORA = "dub"


@dataclass
class JointPackage:
    """A loaded package of LTX-2."""

    info: PackageInfo
    settings: JointSettings
    transformer: JointTransformer
    codec: JointVideoCodec
    audio_codec: JointAudioCodec
    prompts: StoredPrompts
    folder: Path
    speed: SpeedConfig

    def require_speech(self, name: str, fingerprint: str) -> None:
        """Refuse speech features that are not the spectrogram which LTX-2 hears."""
        if (name, fingerprint) != (self.info.speech.encoder, self.info.speech_fingerprint):
            raise UserError(
                f"{self.folder}: LTX-2 hears the spectrogram {self.info.speech.encoder!r} "
                f"({self.info.speech_fingerprint}), not features of {name!r} ({fingerprint}); use that."
            )


@dataclass(frozen=True)
class OpenedPackage:
    """A package of LTX-2 of which no weights were read. model: the folder that it refers to."""

    info: PackageInfo
    settings: JointSettings
    model: Path


def open_joint_package(folder: Path) -> OpenedPackage:
    """Check a package and the folder that it refers to.

    Raises:
        UserError: it is no such package or not whole, or the model's folder is missing or another one than it
            was made with.
    """
    info = read_info(folder)
    settings = info.joint
    if settings is None:
        raise UserError(f"{folder}: the package is not of LTX-2; choose another.")
    if info.conventions.seams is not SeamRule.blend:
        raise UserError(f"{folder}: windows of LTX-2 are decoded by themselves; set conventions.seams blend.")
    check_joint_geometry(info.geometry, settings.conventions.reference_downscale)
    model = Path(settings.model)
    if not model.is_dir():
        raise UserError(
            f"{folder}: the package refers to LTX-2 in '{model}', which is not there; put it back or import "
            "it again."
        )
    if folder_fingerprint(model) != settings.fingerprint:
        raise UserError(
            f"{folder}: LTX-2 in '{model}' is not the one that the package was made with; import it again."
        )
    return OpenedPackage(info, settings, model)


def load_joint_codecs(
    model: Path, device: torch.device, dtype: torch.dtype = torch.float32
) -> tuple[JointVideoCodec, JointAudioCodec]:
    """The autoencoders in a folder of LTX-2. Raises UserError where one is missing or damaged."""
    video, audio = (_part(model / name, dtype).to(device) for name in CODECS)
    return JointVideoCodec(video), JointAudioCodec(audio)


def load_joint_vocoder(model: Path, device: torch.device) -> JointVocoder:
    """The vocoder in a folder of LTX-2, float32. Raises UserError where it is missing or damaged."""
    return JointVocoder(_part(model / "vocoder", torch.float32).to(device))


def load_joint_package(
    folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> JointPackage:
    """Load a package of LTX-2 for inference.

    Raises:
        UserError: it is no such package or not whole, the model's folder is missing or another one than it
            was made with, or parts do not fit each other.
    """
    device = torch.device(device)
    opened = open_joint_package(folder)
    info, settings, model = opened.info, opened.settings, opened.model
    transformer = load_joint_transformer(model / "transformer", settings.conventions, dtype)
    if (folder / LORA_FILE).is_file():
        attach_lora(transformer.model, read_lora(folder / LORA_FILE, transformer.model), _LORA)
    prompts = read_prompts(folder / PROMPT_FILE, transformer.model.config)
    if settings.text_scale != 1 and prompts.negative is None:
        raise UserError(f"{folder}: joint.text_scale needs a negative prompt, and none is stored; add one.")
    transformer.eval().requires_grad_(False).to(device)
    return JointPackage(
        info,
        settings,
        transformer,
        *load_joint_codecs(model, device, dtype),
        prompts.to(device),
        folder,
        SpeedConfig(),
    )


def check_joint_geometry(geometry: GeometryConfig, downscale: int) -> None:
    """Refuse clips that LTX-2 does not take.

    Raises:
        UserError: a length that is not 8k + 1, sides that 32 does not divide (those of the reference among
            them), sides of one latent, a rate far from all that it was trained on, or nothing new in a
            window.
    """
    JointClip(geometry.clip_frames, geometry.crop_size, geometry.crop_size, geometry.fps).downscaled(
        downscale
    )
    if geometry.crop_size < 2 * PIXEL_STRIDE:
        # The decoder reflects latents at their border: of one alone there is nothing to reflect.
        raise UserError(
            f"geometry.crop_size is {geometry.crop_size}; LTX-2 makes pictures of at least "
            f"{2 * PIXEL_STRIDE} pixels."
        )
    given = latents_to_frames(geometry.motion_latents, FRAME_STRIDE)
    if given >= geometry.clip_frames:
        raise UserError(
            f"geometry.motion_latents is {geometry.motion_latents}, {given} frames of LTX-2; it must leave "
            f"new ones among the {geometry.clip_frames} of a clip."
        )


def _part(folder: Path, dtype: torch.dtype) -> Any:
    """A part of the class that its configuration names."""
    kinds = {kind.__name__: kind for kind in CLASSES[folder.name]}
    return load_strictly(kinds[read_json(folder / "config.json")["_class_name"]], folder, dtype)
