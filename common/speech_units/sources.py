"""The continuous features that are quantised to speech units, at 50 Hz."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from common.arithmetic import one_thread
from common.errors import UserError
from common.files import PathLike, fingerprint, sampled_digest
from common.speech.base import HOP, Audio, Features, check_audio, feature_count
from common.speech.chunks import overlapping_chunks
from common.speech.local_models import load_model
from common.speech.mel import MelEncoder
from common.speech_units.config import HUBERT

_WINDOW, _OVERLAP = 3000, 500  # features: 60 s and 10 s
_FIELD = 400  # samples that one feature of HuBERT sees in the convolutions


class UnitSource(Protocol):
    """Sound to continuous features."""

    @property
    def fingerprint(self) -> str: ...

    def encode(self, audio: Audio) -> Features:
        """(samples,) in [-1, 1] at 16 kHz -> (ceil(samples / 320), C); raises UserError when empty."""
        ...


def open_source(kind: str, folder: PathLike, layer: int, device: torch.device | str = "cpu") -> UnitSource:
    """The source of ``kind``, a value of ``units.source``, with the weights in ``folder``.

    Raises:
        UserError: there are none, or they cannot be loaded.
    """
    return HubertLayer(folder, layer, device) if kind == HUBERT else PhoneticFeatures(folder, device)


def source_fingerprint(kind: str, folder: PathLike, layer: int) -> str:
    """What :func:`open_source` would call itself; no weights are loaded.

    Raises:
        UserError: there are none.
    """
    digest = sampled_digest(source_files(folder))
    parts = [layer, _WINDOW, _OVERLAP] if kind == HUBERT else [MelEncoder().fingerprint]
    return fingerprint([kind, 1, *parts, digest])


class HubertLayer:
    """One hidden layer of HuBERT; recordings beyond 60 s in windows that share 10 s and are cross-faded.

    The recording is brought to zero mean and unit variance, as HuBERT-Large was trained. Its last feature is
    repeated where less than 25 ms are left for a further one.

    Raises:
        UserError: no model, or none with that layer.
    """

    def __init__(self, folder: PathLike, layer: int, device: torch.device | str) -> None:
        from transformers import HubertModel  # seconds to import

        self.fingerprint = source_fingerprint(HUBERT, folder, layer)
        model = load_model(HubertModel, Path(folder), "HuBERT")
        layers = model.config.num_hidden_layers
        if not -layers - 1 <= layer <= layers:
            raise UserError(f"{folder}: the HuBERT model has {layers} layers, but units.layer is {layer}.")
        self._layer, self._device = layer, torch.device(device)
        # eval(): in training mode LayerDrop leaves out whole blocks.
        self._model = model.eval().requires_grad_(False).to(self._device)

    def encode(self, audio: Audio) -> Features:
        sound = check_audio(audio)
        level = (sound - sound.mean()) / np.sqrt(sound.var() + 1e-7)
        wanted = feature_count(len(sound))
        level = np.pad(level, (0, max(0, _FIELD - len(level))))
        count = (len(level) - _FIELD) // HOP + 1

        def encode(first: int, end: int) -> Features:
            return self._hidden(level[HOP * first : HOP * (end - 1) + _FIELD])

        features = overlapping_chunks(count, _WINDOW, _OVERLAP, encode)
        return np.pad(features, ((0, wanted - count), (0, 0)), mode="edge")

    @torch.inference_mode()
    def _hidden(self, sound: npt.NDArray[np.float32]) -> Features:
        inputs = torch.from_numpy(np.ascontiguousarray(sound))[None].to(self._device)
        states = self._model(inputs, output_hidden_states=True).hidden_states
        return states[self._layer][0].float().cpu().numpy()


class PhoneticFeatures:
    """A phonetic encoder's features, about zero mean and unit variance, from log-mel bands.

    Raises:
        UserError: there is no phonetic encoder.
    """

    def __init__(self, folder: PathLike, device: torch.device | str) -> None:
        from common.lip_shapes.network import load_phonetics

        self.fingerprint = source_fingerprint("phonetics", folder, 0)
        self._mel, self._device = MelEncoder(), torch.device(device)
        self._network = load_phonetics(folder).to(self._device)

    def encode(self, audio: Audio) -> Features:
        from common.lip_shapes.encoder import read_recording

        return read_recording(self._mel.encode(audio), self._read)

    @torch.inference_mode()
    def _read(self, mel: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        with one_thread():
            return self._network.normalized(torch.from_numpy(mel)[None].to(self._device))[0].cpu().numpy()


def source_files(folder: PathLike) -> list[Path]:
    """What of a folder a source is made of.

    Raises:
        UserError: it is no model's.
    """
    found = Path(folder)
    weights = sorted(found.glob("*.safetensors"))
    if not folder or not (found / "config.json").is_file() or not weights:
        raise UserError(
            f"There is no model in '{folder}' whose features could be quantised: set units.path to a folder "
            "with config.json and model.safetensors."
        )
    return [found / "config.json", *weights]
