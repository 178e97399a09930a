"""Features kept on disk, found by the content of the sound and the encoder, never by a file's name."""

from __future__ import annotations

import hashlib

import safetensors.numpy
from safetensors import SafetensorError

from common.files import PathLike, atomic_path, require_writable_dir
from common.speech.base import Audio, Features, SilenceRule, SpeechEncoder, check_audio


class CachedEncoder:
    """A speech encoder that looks into ``folder`` first.

    The key is the SHA-256 of the samples together with the encoder's fingerprint: a replaced recording of the
    same name or other weights get features of their own.
    """

    def __init__(self, encoder: SpeechEncoder, folder: PathLike) -> None:
        self.encoder = encoder
        self.folder = require_writable_dir(folder)

    @property
    def name(self) -> str:
        return self.encoder.name

    @property
    def silence(self) -> SilenceRule:
        return self.encoder.silence

    @property
    def channels(self) -> int:
        return self.encoder.channels

    @property
    def fingerprint(self) -> str:
        return self.encoder.fingerprint

    def encode(self, audio: Audio) -> Features:
        audio = check_audio(audio)
        digest = hashlib.sha256(self.fingerprint.encode() + b"\0")
        digest.update(audio.tobytes())
        file = self.folder / f"{digest.hexdigest()}.safetensors"
        if file.is_file():
            try:
                return safetensors.numpy.load_file(file)["features"]
            except (SafetensorError, KeyError):
                pass  # damaged from outside: it is made again below
        features = self.encoder.encode(audio)
        with atomic_path(file) as temporary:
            safetensors.numpy.save_file({"features": features}, temporary)
        return features
