"""From the configuration to an encoder."""

from __future__ import annotations

import torch

from common.errors import UserError
from common.speech.base import SpeechEncoder
from common.speech.config import SpeechConfig


def build_speech_encoder(config: SpeechConfig, device: torch.device | str = "cpu") -> SpeechEncoder:
    """The encoder that ``config`` names.

    Raises:
        UserError: its weights are not in ``config.path``, or it does not have ``config.channels`` channels.
    """
    encoder: SpeechEncoder
    # The libraries of each encoder take seconds to import: only those that are used.
    if config.encoder == "mel":
        from common.speech.mel import MelEncoder

        encoder = MelEncoder()
    elif config.encoder == "lips":
        from common.lip_shapes.encoder import LipEncoder

        encoder = LipEncoder(config.path, device)
    elif config.encoder == "hubert":
        from common.speech.hubert import HubertEncoder

        encoder = HubertEncoder(config.path, device, chunking=config.chunking)
    else:
        from common.speech.pretrained import PretrainedEncoder

        encoder = PretrainedEncoder(config.path, device, chunking=config.chunking)
    if encoder.channels != config.channels:
        raise UserError(
            f"speech.channels is {config.channels}, but the encoder {config.encoder} has {encoder.channels}: "
            "set speech.channels and model.audio_channels to that."
        )
    return encoder
