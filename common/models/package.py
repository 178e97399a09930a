"""A model package: one folder with everything that inference must know, and nothing else.

bootdub.json             format, stage, phase, geometry, speech encoder, sampler defaults, adapters
transformer/             save_pretrained format, without adapters
vae/                     save_pretrained format
context.safetensors      the constant text states, where the transformer has text attention
speech/                  the speech encoder's weights: of imported packages, or a lip-shape predictor
lora_<name>.safetensors  adapters with their ranges of t
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from common.autoencoder.codec import VideoCodec, load_vae
from common.diffusion.windows import check_short_windows
from common.errors import UserError
from common.files import atomic_dir
from common.models.adapters import AdapterSwitch, load_adapter, save_adapter
from common.models.load import load_strictly, narrowed
from common.models.package_info import (
    CONTEXT_FILE,
    SPEECH_FOLDER,
    PackageInfo,
    adapter_file,
    read_info,
    write_info,
)
from common.models.speed import SpeedConfig
from common.models.switches import check_switches, place_transformer
from common.models.transformer import DubbingTransformer
from common.speech.build import encoder_class


@dataclass
class ModelPackage:
    """A loaded package. ``context`` is (1, L, text_dim) if the transformer has text attention, else None.

    ``speed``: the switches that are on in this copy of the transformer, and those that its samplers follow.
    """

    info: PackageInfo
    transformer: DubbingTransformer
    codec: VideoCodec
    context: torch.Tensor | None
    folder: Path
    speed: SpeedConfig = field(default_factory=SpeedConfig)

    def adapter_switch(self) -> AdapterSwitch:
        """The ``before_step`` hook that the sampler needs for this package's adapters."""
        return AdapterSwitch(self.transformer, self.info.adapters)

    def require_speech(self, name: str, fingerprint: str) -> None:
        """Refuse speech features of another encoder than the model was trained on."""
        known = self.info.speech_fingerprint
        if name != self.info.speech.encoder or (known and fingerprint != known):
            raise UserError(
                f"{self.folder}: the model was trained on features of the speech encoder "
                f"{self.info.speech.encoder!r} ({known or 'any weights'}), not of {name!r} ({fingerprint}); "
                "use that encoder."
            )


def save_package(
    folder: Path | str,
    info: PackageInfo,
    transformer: DubbingTransformer,
    codec: VideoCodec,
    context: torch.Tensor | None = None,
    weights: Mapping[str, torch.Tensor] | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a package, whole or not at all; a package that lies there already is replaced.

    The fingerprint of the autoencoder, as it is stored, is filled in here. ``info.adapters`` names the peft
    adapters to store. ``weights`` (our names) are stored instead of the transformer's own, for a moving
    average. A speech encoder that travels is copied from
    ``info.speech.path``. ``dtype`` narrows the stored
    transformer and autoencoder, except for what must stay float32.
    """
    if transformer.text_embedding is not None and context is None:
        raise ValueError("A transformer with text attention is stored with its constant context.")
    with atomic_dir(folder) as temporary:
        _without_adapters(transformer, weights, dtype).save_pretrained(temporary / "transformer")
        vae = _copy(codec.vae, dict(codec.vae.state_dict()), dtype)
        vae.save_pretrained(temporary / "vae")
        if context is not None:
            save_file({"context": context.detach().cpu().contiguous()}, temporary / CONTEXT_FILE)
        if encoder_class(info.speech.encoder).travels:
            shutil.copytree(info.speech.path, temporary / SPEECH_FOLDER)
            info = replace(info, speech=replace(info.speech, path=""))
        for adapter in info.adapters:
            save_adapter(transformer, adapter, temporary / adapter_file(adapter.name))
        write_info(temporary, replace(info, vae_fingerprint=VideoCodec(vae).fingerprint))


def load_package(
    folder: Path | str,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    stage: int | None = None,
    vae_dtype: torch.dtype | None = None,
    adapters: bool = True,
    speed: SpeedConfig | None = None,
) -> ModelPackage:
    """Load a package for inference. ``vae_dtype`` defaults to ``dtype``. ``adapters=False`` leaves them out.

    ``speed``: switches of common/models/switches.py; None: the exact model.

    Raises UserError where the folder is no package, is incomplete, is of another stage than ``stage``, or
    holds parts that do not fit each other; or a switch needs what is not there.
    """
    folder, device, speed = Path(folder), torch.device(device), speed or SpeedConfig()
    info = read_info(folder)
    if info.joint is not None:
        raise UserError(f"{folder}: a package of LTX-2, with which this does not work; choose another.")
    check_switches(speed, device, dtype)
    check_short_windows(speed.short_windows, info.conventions.windows)
    if not adapters:
        info = replace(info, adapters=())
    if stage is not None and info.stage != stage:
        raise UserError(
            f"{folder}: the model is of stage {info.stage}, but stage {stage} is needed; choose another."
        )
    transformer = load_transformer(folder / "transformer", dtype)
    codec = VideoCodec(load_vae(folder / "vae", vae_dtype or dtype))
    _check_parts(folder, info, transformer, codec)
    for adapter in info.adapters:
        load_adapter(transformer, folder / adapter_file(adapter.name))
    context = _load_context(folder) if transformer.text_embedding is not None else None
    transformer.eval().requires_grad_(False)
    place_transformer(transformer, device, speed)
    codec.to(device)
    context = None if context is None else context.to(device)
    return ModelPackage(info, transformer, codec, context, folder, speed)


def load_transformer(folder: Path, dtype: torch.dtype = torch.float32) -> DubbingTransformer:
    """Load a save_pretrained folder strictly: a missing, foreign or misshapen tensor is a UserError."""
    return load_strictly(DubbingTransformer, folder, dtype)


def _without_adapters(
    transformer: DubbingTransformer, weights: Mapping[str, torch.Tensor] | None, dtype: torch.dtype | None
) -> DubbingTransformer:
    """The transformer without adapters, sharing its tensors or holding ``weights`` instead."""
    state = {
        name.replace(".base_layer.", "."): tensor
        for name, tensor in (weights if weights is not None else transformer.state_dict()).items()
        if ".lora_" not in name
    }
    return _copy(transformer, state, dtype)


def _copy(model: Any, state: dict[str, torch.Tensor], dtype: torch.dtype | None) -> Any:
    """A module of the kind of ``model`` that holds the tensors of ``state``, narrowed to ``dtype`` if any."""
    if dtype is not None:
        state = narrowed(model, state, dtype)
    with torch.device("meta"):
        copy = type(model).from_config(model.config)
    copy.load_state_dict(state, strict=True, assign=True)
    return copy


def _check_parts(folder: Path, info: PackageInfo, transformer: DubbingTransformer, codec: VideoCodec) -> None:
    config: Any = transformer.config
    if config.audio_channels != info.speech.channels:
        raise UserError(
            f"{folder}: the transformer takes {config.audio_channels} speech channels, the encoder gives "
            f"{info.speech.channels}; the parts belong to different models."
        )
    if config.latent_channels != codec.channels:
        raise UserError(
            f"{folder}: the transformer works on {config.latent_channels} latent channels, the autoencoder "
            f"has {codec.channels}; the parts belong to different models."
        )
    if info.geometry.crop_size % (codec.stride[1] * transformer.patch[1]):
        raise UserError(
            f"{folder}: crops of {info.geometry.crop_size} pixels do not divide into the model's tokens; "
            "the parts belong to different models."
        )
    if codec.fingerprint != info.vae_fingerprint:
        raise UserError(
            f"{folder}: the autoencoder is not the one that the transformer was trained on; restore it."
        )


def _load_context(folder: Path) -> torch.Tensor:
    try:
        return load_file(folder / CONTEXT_FILE)["context"]
    except (OSError, SafetensorError, KeyError) as error:
        raise UserError(
            f"{folder}: the text states in context.safetensors cannot be read; restore it."
        ) from error
