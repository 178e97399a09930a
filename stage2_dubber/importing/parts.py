"""The parts of a package as lists of tensors that are still in their files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from transformers import WhisperModel

from common.errors import UserError
from common.files import read_json
from common.media import SAMPLE_RATE
from common.models.convert_speech import HUBERT, OPTIONAL, WAV2VEC2, SpeechModel, map_speech_model
from common.models.convert_vae import WAN22_LATENTS_MEAN, WAN22_LATENTS_STD, map_original_vae
from common.models.convert_whisper import map_openai_whisper
from common.models.shards import Entry, made_entry, stored_entry
from common.models.stored import Stored, open_folder, open_safetensors, open_torch
from common.models.transformer import DubbingTransformer
from common.speech.hubert import LAYERS as HUBERT_LAYERS

WEIGHTS = "diffusion_pytorch_model"
SPEECH_WEIGHTS = "model"


@dataclass(frozen=True)
class Part:
    """One folder of a package: its name, the stem of its weights' files, their tensors, and its config.

    ``facts`` are the numbers that the parts must agree on, and ``files`` what it is made from.
    """

    folder: str
    stem: str
    entries: tuple[Entry, ...]
    save_config: Callable[[Path], Any]
    facts: Mapping[str, Any]
    files: tuple[Path, ...]

    @property
    def size(self) -> int:
        """Bytes of all tensors."""
        return sum(entry.size for entry in self.entries)


def transformer_part(
    config: Mapping[str, Any], tensors: Stored, fresh: Mapping[str, Entry], dtype: torch.dtype | None
) -> Part:
    """The dubbing transformer: ``tensors`` by our names, narrowed to ``dtype``, and ``fresh`` ones.

    What must stay float32 (timesteps need the precision) does when others are narrowed.
    """
    with torch.device("meta"):
        model = DubbingTransformer(**config)
    exact: tuple[str, ...] = tuple(DubbingTransformer._keep_in_fp32_modules or ())
    entries = []
    for name in model.state_dict():
        if name in fresh:
            entries.append(fresh[name])
            continue
        kept = dtype is not None and any(part in name for part in exact)
        entries.append(stored_entry(name, tensors[name], torch.float32 if kept else dtype))
    files = tuple(sorted({tensor.file for tensor in tensors.values()}))
    return Part("transformer", WEIGHTS, tuple(entries), model.save_config, dict(config), files)


def original_vae_part(file: Path, statistics: Path | None) -> Part:
    """The Wan2.2 autoencoder from its original keys; ``statistics``: see :func:`latent_statistics`."""
    stored = open_safetensors(file)
    config, originals = map_original_vae(stored, str(file))
    mean, std = latent_statistics(file, config["z_dim"], statistics)
    with torch.device("meta"):
        vae = AutoencoderKLWan(**config, latents_mean=mean, latents_std=std)
    entries = tuple(stored_entry(name, stored[originals[name]]) for name in vae.state_dict())
    return Part("vae", WEIGHTS, entries, vae.save_config, _facts(vae), (file,))


def diffusers_vae_part(folder: Path) -> Part:
    """An autoencoder that is in diffusers' format already."""
    config = read_json(folder / "config.json")
    if not isinstance(config, dict) or config.get("_class_name") != "AutoencoderKLWan":
        raise UserError(f"{folder / 'config.json'}: describes no AutoencoderKLWan; fetch the folder again.")
    try:
        with torch.device("meta"):
            vae: Any = AutoencoderKLWan.from_config(config)
    except (TypeError, ValueError) as error:
        raise UserError(f"{folder / 'config.json'}: is damaged ({error}); fetch it again.") from error
    stored = open_folder(folder, WEIGHTS)
    expected = vae.state_dict()
    for name in sorted(expected.keys() | stored.keys()):
        if name not in stored:
            raise UserError(f"{folder} lacks the tensor {name}; it is incomplete.")
        if name not in expected:
            raise UserError(f"{folder} holds the foreign tensor {name}; it is no Wan autoencoder.")
        if stored[name].shape != expected[name].shape:
            raise UserError(
                f"{folder}: the tensor {name} is {tuple(stored[name].shape)}, expected "
                f"{tuple(expected[name].shape)} by config.json; fetch both again."
            )
    entries = tuple(stored_entry(name, stored[name]) for name in expected)
    files = tuple(sorted({tensor.file for tensor in stored.values()}))
    return Part("vae", WEIGHTS, entries, vae.save_config, _facts(vae), (folder / "config.json", *files))


def latent_statistics(file: Path, channels: int, given: Path | None) -> tuple[list[float], list[float]]:
    """(mean, deviation) per latent channel: Wan2.2's constants, or what a safetensors file holds.

    Raises:
        UserError: the autoencoder is not of Wan2.2's width and none are given, or they do not fit.
    """
    if given is None:
        if channels != len(WAN22_LATENTS_MEAN):
            raise UserError(
                f"{file}: has {channels} latent channels, and the public statistics are for "
                f"{len(WAN22_LATENTS_MEAN)}: give its own with --latent-statistics."
            )
        return list(WAN22_LATENTS_MEAN), list(WAN22_LATENTS_STD)
    stored = open_safetensors(given)
    found = []
    for name in ("latents_mean", "latents_std"):
        if name not in stored or stored[name].shape != (channels,):
            raise UserError(f"{given}: must hold {name} of shape ({channels},), as {file.name} needs it.")
        found.append(stored[name].load().double())
    mean, std = found
    if not (mean.isfinite().all() and std.isfinite().all() and (std > 0).all()):
        raise UserError(f"{given}: holds means that are no numbers or deviations that are not positive.")
    return mean.tolist(), std.tolist()


def whisper_part(file: Path) -> Part:
    """Whisper's encoder from OpenAI's file, with a decoder of no layers, as transformers wants one."""
    stored, others = open_torch(file, "model_state_dict")
    dims = others.get("dims")
    if not isinstance(dims, dict) or not isinstance(dims.get("n_audio_head"), int):
        raise UserError(f"{file}: does not say its dimensions (dims); fetch OpenAI's own file.")
    config, originals = map_openai_whisper(stored, dims["n_audio_head"], str(file))
    for key, value in {
        "n_mels": config.num_mel_bins,
        "n_audio_ctx": config.max_source_positions,
        "n_audio_state": config.d_model,
        "n_audio_layer": config.encoder_layers,
    }.items():
        if dims.get(key) != value:
            raise UserError(
                f"{file}: says {key} {dims.get(key)}, but its tensors say {value}; fetch it again."
            )
    if config.d_model % config.encoder_attention_heads:
        raise UserError(
            f"{file}: says {config.encoder_attention_heads} heads, which do not divide its {config.d_model} "
            "channels; fetch it again."
        )
    with torch.device("meta"):
        model = WhisperModel(config)
    entries = []
    for name, tensor in model.state_dict().items():
        if (inner := name.removeprefix("encoder.")) != name:
            entries.append(stored_entry(name, stored[originals[inner]]))
        else:  # of the decoder, which is never called
            entries.append(made_entry(name, tensor.shape, _zeros(tensor.shape)))
    facts = {"channels": config.d_model}
    return Part("speech/whisper", SPEECH_WEIGHTS, tuple(entries), config.save_pretrained, facts, (file,))


def wav2vec2_part(folder: Path) -> Part:
    """The bare wav2vec2 model from its published folder (safetensors, or tensors pickled by torch)."""
    return _speech_model_part(folder, WAV2VEC2)


def hubert_part(folder: Path) -> Part:
    """The bare HuBERT model from its published folder; its features are four layers side by side."""
    part = _speech_model_part(folder, HUBERT)
    return replace(part, facts={"channels": len(HUBERT_LAYERS) * part.facts["channels"]})


def _speech_model_part(folder: Path, kind: SpeechModel) -> Part:
    described = read_json(folder / "config.json")
    if not isinstance(described, dict) or described.get("model_type") != kind.name:
        raise UserError(f"{folder / 'config.json'}: describes no {kind.name} model; fetch the folder again.")
    _check_normalisation(folder / "preprocessor_config.json")
    pickled = folder / "pytorch_model.bin"
    if any(folder.glob("model*.safetensors*")) or not pickled.is_file():
        stored = open_folder(folder, SPEECH_WEIGHTS)
    else:
        stored, _ = open_torch(pickled)
    try:
        config = kind.config.from_dict(described)
        shapes, originals = map_speech_model(stored, kind, config, str(folder))
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise UserError(f"{folder / 'config.json'}: is damaged ({error}); fetch it again.") from error
    entries = [
        stored_entry(name, stored[originals[name]])
        if name in originals
        else made_entry(name, shape, _zeros(shape))
        for name, shape in shapes.items()
    ]
    assert shapes.keys() - originals.keys() <= {OPTIONAL}
    files = (folder / "config.json", *sorted({tensor.file for tensor in stored.values()}))
    facts = {"channels": config.hidden_size}
    name = f"speech/{kind.name}"
    return Part(name, SPEECH_WEIGHTS, tuple(entries), config.save_pretrained, facts, files)


def _check_normalisation(file: Path) -> None:
    """The features are made from sound of zero mean and unit variance at 16 kHz: nothing else fits."""
    if not file.is_file():
        return
    said = read_json(file)
    for key, value in {"do_normalize": True, "sampling_rate": SAMPLE_RATE}.items():
        if said.get(key, value) != value:
            raise UserError(f"{file}: says {key} {said[key]}, expected {value}; fetch the folder again.")


def _zeros(shape: torch.Size) -> Callable[[], torch.Tensor]:
    return lambda: torch.zeros(shape)


def _facts(vae: Any) -> dict[str, Any]:
    return dict(vae.config)
