"""What lies in a folder of published weights, checked as a whole before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from common.errors import UserError
from common.files import read_json
from common.models.conventions import RELEASE, Conventions
from common.models.convert import AUDIO_HEAD_DIM, HEAD_DIM, from_public_state_dict
from common.models.convert_text import map_text_encoder, prompt_context, prompt_tokens
from common.models.convert_wan import fresh_tensors, from_wan
from common.models.package_info import BASE_PHASE, RELEASED_PHASE
from common.models.shards import made_entry
from common.models.stored import Stored, StoredTensor, open_folder, open_safetensors
from common.speech.config import SpeechConfig
from common.speech.mel import MelEncoder
from stage2_dubber.importing.config import ImportConfig, PackageConfig, head_count
from stage2_dubber.importing.parts import (
    SPEECH_WEIGHTS,
    WEIGHTS,
    Part,
    diffusers_vae_part,
    hubert_part,
    original_vae_part,
    transformer_part,
    wav2vec2_part,
    whisper_part,
)

TRANSFORMER_FILE = "X-Dub_model.safetensors"
VAE_FILE = "Wan2.2_VAE.safetensors"
TEXT_FILE = "models_t5_umt5-xxl-enc-bf16.safetensors"
TOKENIZER_FOLDER = "umt5-xxl"
WHISPER_FILE = "whisper/large-v2.pt"
WAV2VEC2_FOLDER = "wav2vec2-base-960h"
HUBERT_FOLDER = "hubert-large-ll60k"


@dataclass(frozen=True)
class ContextSource:
    """The empty prompt's states (1, L, ``width``), made when they are asked for. ``text``: from what."""

    make: Callable[[], Tensor]
    width: int
    text: str
    files: tuple[Path, ...]


@dataclass(frozen=True)
class Sources:
    """Everything that an import reads. ``phase`` is what the package will call itself."""

    phase: str
    parts: tuple[Part, ...]
    context: ContextSource
    speech: SpeechConfig
    conventions: Conventions

    def part(self, folder: str) -> Part:
        return next(part for part in self.parts if part.folder == folder)

    @property
    def files(self) -> tuple[Path, ...]:
        """All files whose content decides the package."""
        return (*(file for part in self.parts for file in part.files), *self.context.files)


@dataclass(frozen=True)
class Given:
    """What the user gives besides the folder: see ``bootdub import-xdub --help``."""

    context: Path | None = None
    speech: Path | None = None
    latent_statistics: Path | None = None
    dtype: torch.dtype | None = None


def open_sources(folder: Path, config: ImportConfig, given: Given) -> Sources:
    """The release, or a base model in diffusers' format, whichever lies in ``folder``.

    Reads headers only. Raises UserError naming the first file that is missing or damaged, the first tensor
    that is missing, foreign or misshapen, or the parts that do not belong together.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give the one that the weights were downloaded to.")
    if config.speech.path:
        raise UserError(
            "speech.path is where a package keeps its own encoders: give --speech FOLDER instead."
        )
    if (folder / "transformer" / "config.json").is_file():
        return checked_parts(folder, _open_base(folder, config, given), config)
    return checked_parts(folder, _open_release(folder, config, given), config)


def _open_release(folder: Path, config: ImportConfig, given: Given) -> Sources:
    if config.speech.encoder != "whisper+wav2vec2":
        raise UserError("speech.encoder must be whisper+wav2vec2: the release was trained on its features.")
    ears, source = given.speech or folder, SPEECH_SOURCES[config.speech.encoder]
    wanted = [folder / TRANSFORMER_FILE, folder / VAE_FILE, *(ears / name for name in source.files)]
    missing = [
        str(file.relative_to(folder if folder in file.parents else ears))
        for file in wanted
        if not file.exists()
    ]
    if missing:
        raise UserError(
            f"{folder} lacks {', '.join(missing)}; fetch the whole release, or give the folder of a Wan2.2 "
            "model in diffusers' format."
        )
    transformer = public_transformer(folder / TRANSFORMER_FILE, config, given)
    vae = original_vae_part(folder / VAE_FILE, given.latent_statistics)
    speech = source.parts(ears)
    context = _context(folder / TEXT_FILE, folder / TOKENIZER_FOLDER, open_safetensors, given)
    channels = sum(part.facts["channels"] for part in speech)
    return Sources(
        RELEASED_PHASE,
        (transformer, vae, *speech),
        context,
        replace(config.speech, path="", channels=channels),
        RELEASE,
    )


def public_transformer(file: Path, config: PackageConfig, given: Given) -> Part:
    """The editor of a file in the public key format.

    Raises:
        UserError: naming the first tensor that does not fit.
    """
    stored = open_safetensors(file)
    arguments, ours = from_public_state_dict(stored, source=str(file))
    heads = {
        "num_heads": head_count("heads.transformer", config.heads.transformer, arguments["dim"], HEAD_DIM),
        "audio_heads": head_count("heads.audio", config.heads.audio, arguments["audio_dim"], AUDIO_HEAD_DIM),
    }
    if not arguments["text_tokens"] or arguments["condition_channels"]:
        raise UserError(f"{file}: no editor with text attention; it is not the released model.")
    return transformer_part(arguments | heads, ours, {}, given.dtype)


def _open_base(folder: Path, config: ImportConfig, given: Given) -> Sources:
    wan = read_json(folder / "transformer" / "config.json")
    if not isinstance(wan, dict) or "_class_name" not in wan:
        raise UserError(f"{folder / 'transformer' / 'config.json'}: describes no model; fetch it again.")
    if given.latent_statistics is not None:
        raise UserError(f"{folder / 'vae'} says its own statistics: leave --latent-statistics out.")
    speech: tuple[Part, ...] = ()
    settings = replace(config.speech, path="")
    if config.speech.encoder != MelEncoder.name:
        speech = speech_parts(folder, given.speech, config.speech.encoder)
        settings = replace(settings, channels=sum(part.facts["channels"] for part in speech))
    fresh = config.fresh
    audio = {
        "audio_channels": settings.channels,
        "audio_dim": fresh.audio_dim,
        "audio_layers": fresh.audio_layers,
        "audio_heads": head_count("heads.audio", config.heads.audio, fresh.audio_dim, AUDIO_HEAD_DIM),
    }
    stored = open_folder(folder / "transformer", WEIGHTS)
    arguments, tensors, shapes = from_wan(stored, wan, audio, str(folder / "transformer"))
    makers = fresh_tensors(arguments, fresh.seed)
    entries = {name: made_entry(name, shape, makers[name]) for name, shape in shapes.items()}
    transformer = transformer_part(arguments, tensors, entries, given.dtype)
    vae = diffusers_vae_part(folder / "vae")
    context = _context(
        folder / "text_encoder", folder / "tokenizer", lambda path: open_folder(path, SPEECH_WEIGHTS), given
    )
    return Sources(BASE_PHASE, (transformer, vae, *speech), context, settings, Conventions())


@dataclass(frozen=True)
class SpeechSource:
    """The public files of a speech encoder.

    Attributes:
        files: what they are called.
        parts: opens those in a folder.
    """

    files: tuple[str, ...]
    parts: Callable[[Path], tuple[Part, ...]]


SPEECH_SOURCES = {
    "whisper+wav2vec2": SpeechSource(
        (WHISPER_FILE, WAV2VEC2_FOLDER),
        lambda folder: (whisper_part(folder / WHISPER_FILE), wav2vec2_part(folder / WAV2VEC2_FOLDER)),
    ),
    "hubert": SpeechSource((HUBERT_FOLDER,), lambda folder: (hubert_part(folder / HUBERT_FOLDER),)),
}
"""Encoders whose published weights become part of a package."""


def speech_parts(model: Path, folder: Path | None, encoder: str) -> tuple[Part, ...]:
    """The parts of a speech encoder that joins the video model in ``model``.

    Raises:
        UserError: nobody has published weights of it, or no ``folder`` of them is given.
    """
    if encoder not in SPEECH_SOURCES:
        raise UserError(
            f"speech.encoder is {encoder}, whose weights are not imported: use one of "
            f"{', '.join([MelEncoder.name, *SPEECH_SOURCES])}."
        )
    source = SPEECH_SOURCES[encoder]
    if folder is None:
        raise UserError(
            f"{model} is a video model without speech encoders: give --speech FOLDER with "
            f"{' and '.join(source.files)}/, or speech.encoder=mel speech.channels=80."
        )
    return source.parts(folder)


def _context(place: Path, tokenizer: Path, opened: Callable[[Path], Stored], given: Given) -> ContextSource:
    if given.context is not None:
        return stored_context(given.context, open_safetensors(given.context).get("context"))
    if not place.exists():
        raise UserError(
            f"The text encoder '{place}' is missing: it is read once, for the empty prompt's states; fetch "
            "it, or give --context FILE (context.safetensors of an imported package)."
        )
    stored = opened(place)
    config, _ = map_text_encoder(stored, str(place))
    tokens = prompt_tokens(tokenizer)
    return ContextSource(
        lambda: prompt_context(stored, tokens, str(place)),
        config.d_model,
        f"the empty prompt through {config.num_layers} layers of {place}",
        tuple(sorted({tensor.file for tensor in stored.values()})),
    )


def stored_context(file: Path, states: StoredTensor | None) -> ContextSource:
    """Text states that were computed before.

    Raises:
        UserError: ``states`` is None or of another shape than (1, tokens, width).
    """
    if states is None or len(states.shape) != 3 or states.shape[0] != 1:
        raise UserError(f"{file}: must hold a tensor 'context' of shape (1, tokens, width).")
    return ContextSource(lambda: _finite(file, states.load().float()), states.shape[2], str(file), (file,))


def _finite(file: Path, context: Tensor) -> Tensor:
    if not context.isfinite().all():
        raise UserError(f"{file}: the context holds values that are no numbers; choose another file.")
    return context


def checked_parts(folder: Path, sources: Sources, config: PackageConfig) -> Sources:
    """Refuse parts of different models; the same things are checked when a package is loaded."""
    model, vae = sources.part("transformer").facts, sources.part("vae").facts
    if model["audio_channels"] != sources.speech.channels:
        raise UserError(
            f"{folder}: the transformer takes {model['audio_channels']} speech channels, the encoders give "
            f"{sources.speech.channels}; the files belong to different models."
        )
    if model["latent_channels"] != vae["z_dim"]:
        raise UserError(
            f"{folder}: the transformer works on {model['latent_channels']} latent channels, the autoencoder "
            f"has {vae['z_dim']}; the files belong to different models."
        )
    if model["text_dim"] != sources.context.width:
        raise UserError(
            f"{folder}: the transformer takes text states of width {model['text_dim']}, but they have width "
            f"{sources.context.width} ({sources.context.text}); the files belong to different models."
        )
    step = vae["scale_factor_spatial"] * model["patch_size"][1]
    if config.geometry.crop_size % step:
        raise UserError(
            f"geometry.crop_size is {config.geometry.crop_size}, but the model's tokens are {step} pixels "
            "wide: choose a multiple."
        )
    return sources
