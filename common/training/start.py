"""Where a run starts from: fresh weights, or the model package of an earlier run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from common.autoencoder.codec import VideoCodec, build_vae
from common.autoencoder.config import VaeConfig
from common.data.dataset import ShardDataset
from common.data.schema import CACHE
from common.errors import UserError
from common.files import fingerprint, sha256_file
from common.models.adapters import Adapter
from common.models.config import CROSS_ATTENTION, ModelConfig
from common.models.package import ModelPackage, load_package
from common.models.package_info import adapter_file
from common.models.transformer import DubbingTransformer, build_transformer
from common.speech.base import SpeechEncoder
from common.speech.build import build_speech_encoder
from common.speech.config import SpeechConfig

# A model of another task differs in these: what they mean is learnt anew, everything else is kept.
_MAY_DIFFER = ("condition_channels", "reference_layout")
_NOT_WEIGHTS = ("gradient_checkpointing", "attention_backend")
# Fields that are younger than some checkpoints, with what those have: there they are not told.
_YOUNGER = {"speech_injection": CROSS_ATTENTION}


@dataclass(frozen=True)
class StartingPoint:
    """What a run is built on. ``context`` is (1, L, text_dim) for models with text attention, else None."""

    codec: VideoCodec
    context: Tensor | None
    package: ModelPackage | None

    @property
    def adapters(self) -> tuple[Adapter, ...]:
        """Adapters of earlier phases, which later packages carry on."""
        return self.package.info.adapters if self.package is not None else ()

    @cached_property
    def fingerprint(self) -> str:
        """Identifies the weights of the package, wherever it lies; empty where there is none.

        Of its adapters only those count that the run carries on. Reads the files, once.
        """
        return "" if self.package is None else weights_fingerprint(self.package)


def weights_fingerprint(package: ModelPackage) -> str:
    """Identifies transformer and adapters of a package by the content of its files."""
    folder = package.folder
    files = sorted(folder.glob("transformer/*.safetensors"))
    files += [folder / adapter_file(adapter.name) for adapter in package.info.adapters]
    return fingerprint({str(path.relative_to(folder)): sha256_file(path) for path in files})


def load_start(init_from: str, model: ModelConfig, vae: VaeConfig, adapters: bool = True) -> StartingPoint:
    """Open ``init_from`` (a model package; empty: start fresh) and the autoencoder.

    Raises:
        UserError: the package is of another size, autoencoders contradict each other, there is none, or a
            model with text attention has no text states to start from.
    """
    if not init_from:
        if not vae.path:
            raise UserError("vae.path is empty: name the folder of an autoencoder, or set train.init_from.")
        if model.text_tokens:
            raise UserError(
                "A model with text attention takes its constant text states from a package: set "
                "train.init_from, or model.text_tokens=0."
            )
        return StartingPoint(VideoCodec(build_vae(vae)), None, None)
    package = load_package(init_from, adapters=adapters)
    _check_size(package, model)
    if vae.path:
        named = VideoCodec(build_vae(vae))
        if named.fingerprint != package.codec.fingerprint:
            raise UserError(
                f"{init_from}: was trained on another autoencoder than {vae.path}: leave vae.path empty or "
                "start from another package."
            )
    return StartingPoint(package.codec, package.context, package)


def starting_model(start: StartingPoint, config: ModelConfig) -> DubbingTransformer:
    """The transformer with all parameters trainable: fresh, or with the weights of the starting package.

    From a package of another task the input layer keeps the channels of the noisy latents; further ones
    start at zero, so that they have no effect at first.
    """
    if start.package is None:
        model = build_transformer(config)
    else:
        model = start.package.transformer
        if any(getattr(model.config, name) != getattr(config, name) for name in _MAY_DIFFER):
            model = _for_other_task(model, config)
        model.set_attention_backend(config.attention_backend)
    if config.gradient_checkpointing:
        model.enable_gradient_checkpointing()
    return model.requires_grad_(True)


def speech_of(
    dataset: ShardDataset, config: SpeechConfig, package: ModelPackage | None
) -> tuple[str, SpeechEncoder | None]:
    """(fingerprint of the speech features, the encoder if some samples have to be encoded while training).

    Cached features name their encoder, so that training does not need its weights.

    Raises:
        UserError: shards or the starting package used different encoders.
    """
    uncached = any(not dataset.sample(i).has(CACHE) for i in range(len(dataset)))
    named = {str(index.meta["speech"]) for index in dataset.indices if "speech" in index.meta}
    encoder = build_speech_encoder(config) if uncached or not named else None
    if encoder is not None:
        named.add(encoder.fingerprint)
    if len(named) > 1:
        listed = ", ".join(sorted(named))
        raise UserError(
            f"data.shards holds features of different speech encoders ({listed}): encode them again with one."
        )
    fingerprint = named.pop()
    if package is not None:
        package.require_speech(config.encoder, fingerprint)
    return fingerprint, encoder if uncached else None


def weight_identity(config: ModelConfig) -> dict[str, Any]:
    """What decides the shape and meaning of the weights."""
    return {name: value for name, value in _weight_fields(config).items() if _YOUNGER.get(name) != value}


def _weight_fields(config: ModelConfig) -> dict[str, Any]:
    return {name: value for name, value in asdict(config).items() if name not in _NOT_WEIGHTS}


def _check_size(package: ModelPackage, config: ModelConfig) -> None:
    found: Any = package.transformer.config
    for name, value in _weight_fields(config).items():
        here = getattr(found, name)
        here = list(here) if isinstance(here, tuple) else here
        if name not in _MAY_DIFFER and here != value:
            raise UserError(
                f"{package.folder}: the model has {name} {here}, the configuration says {value}: start from "
                f"a model of the same kind and size, or set model.{name}={here}."
            )


def _for_other_task(model: DubbingTransformer, config: ModelConfig) -> DubbingTransformer:
    if getattr(model, "peft_config", None):
        raise UserError("train.init_from is a model of another task and has adapters: use one without.")
    fresh = build_transformer(config)
    state = model.state_dict()
    name = "patch_embedding.weight"
    weight = torch.zeros_like(fresh.state_dict()[name])
    kept = min(weight.shape[1], state[name].shape[1])
    weight[:, :kept] = state[name][:, :kept]
    fresh.load_state_dict({**state, name: weight})
    return fresh
