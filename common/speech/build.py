"""From the configuration to an encoder."""

from __future__ import annotations

from importlib import import_module

import torch

from common.errors import UserError
from common.speech.base import RegisteredEncoder, SpeechEncoder
from common.speech.config import SpeechConfig
from common.speech.registry import ENCODERS


def encoder_class(name: str) -> type[RegisteredEncoder]:
    """The class of a registered encoder. Importing it imports its libraries, which may take seconds."""
    module, _, attribute = ENCODERS[name].rpartition(".")
    found: type[RegisteredEncoder] = getattr(import_module(module), attribute)
    return found


def build_speech_encoder(config: SpeechConfig, device: torch.device | str = "cpu") -> SpeechEncoder:
    """The encoder that ``config`` names.

    Raises:
        UserError: its weights are not in ``config.path``, it does not have ``config.channels`` channels, or
            does not know ``config.chunking``.
    """
    kind = encoder_class(config.encoder)
    if config.chunking not in kind.chunkings:
        raise UserError(
            f"speech.chunking is {config.chunking}, but the encoder {config.encoder} knows "
            f"{', '.join(kind.chunkings)} alone: set it to that."
        )
    encoder = kind.of(config, device)
    if encoder.channels != config.channels:
        raise UserError(
            f"speech.channels is {config.channels}, but the encoder {config.encoder} has {encoder.channels}: "
            "set speech.channels and model.audio_channels to that."
        )
    return encoder


def speech_fingerprint(config: SpeechConfig) -> str:
    """What the encoder that ``config`` names calls itself; no weights are loaded.

    Raises:
        UserError: they are not in ``config.path``.
    """
    return encoder_class(config.encoder).fingerprint_of(config)
