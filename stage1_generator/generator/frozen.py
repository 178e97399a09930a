"""Autoencoder and speech encoder as stage 1 uses them: loading, pixels to tensors, features per entry."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from common.autoencoder.codec import VideoCodec, build_vae
from common.config import SpeechConfig
from common.data.prepared import Entry
from common.errors import UserError
from common.files import remove_partial
from common.media import SAMPLE_RATE, load_audio
from common.speech import CachedEncoder, SpeechEncoder, build_speech_encoder
from stage1_generator.config import Stage1Config


def pick_device(name: str) -> torch.device:
    """ "auto" is the first GPU where there is one.

    Raises:
        UserError: the name is no device, or the GPU is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f'device is "{name}", which is no device: use "auto", "cpu" or "cuda".') from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f'device is "{name}", but there is no GPU here: use "cpu" or "auto".')
    return device


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """ "auto" is bfloat16 on a GPU, else float32."""
    known = {"fp32": torch.float32, "bf16": torch.bfloat16}
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if name not in known:
        raise UserError(f'dtype is "{name}": use "auto", "fp32" or "bf16".')
    return known[name]


def load_codec(config: Stage1Config) -> VideoCodec:
    """The video autoencoder of the configuration, on its device."""
    device = pick_device(config.device)
    if not config.vae.path:
        raise UserError(
            "vae.path is empty: train an autoencoder with `python -m common.autoencoder.train`, or "
            "name the folder of one."
        )
    return VideoCodec(build_vae(config.vae)).to(device, pick_dtype(config.dtype, device))


class EntrySpeech:
    """Speech features of whole entries, computed once per sound and kept on disk."""

    def __init__(self, config: Stage1Config, speech: SpeechConfig | None = None) -> None:
        """``speech``: another encoder than the configured one."""
        folder = Path(config.work) / "cache" / "speech"
        remove_partial(folder)
        encoder = build_speech_encoder(speech or config.speech)
        self.encoder: SpeechEncoder = CachedEncoder(encoder, folder)
        self._recent = lru_cache(maxsize=64)(self._encode)

    @property
    def fingerprint(self) -> str:
        return self.encoder.fingerprint

    def features(self, entry: Entry) -> NDArray[np.float32]:
        """(T, C) at 50 Hz, feature 0 = begin of the entry's frame 0."""
        return self._recent(entry.folder)

    def silence(self, frames: int, fps: float) -> NDArray[np.float32]:
        """(T, C) features of digital silence over `frames` video frames."""
        return self.encoder.encode(np.zeros(round(frames * SAMPLE_RATE / fps), np.float32))

    def _encode(self, folder: Path) -> NDArray[np.float32]:
        return self.encoder.encode(load_audio(folder / "audio.flac", SAMPLE_RATE))
