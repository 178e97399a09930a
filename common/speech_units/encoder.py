"""Speech as discrete units: the speech encoder ``units`` (EdiDub, section 3.1)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy
import torch
from safetensors import SafetensorError

from common.errors import UserError
from common.files import PathLike, fingerprint, read_json, sha256_file
from common.speech.base import Audio, Features, SilenceRule
from common.speech.config import SpeechConfig
from common.speech_units.config import SOURCES
from common.speech_units.sources import open_source, source_fingerprint

CODEBOOK_FILE = "codebook.safetensors"
SETTINGS_FILE = "units.json"
SOURCE_FOLDER = "source"
_ROWS = 4096  # features whose distances to all centres are held at once


class UnitEncoder:
    """The nearest cluster of a codebook for every feature, as one 1 among zeros: (T, clusters).

    A model's first linear layer is thereby the learnt table of EdiDub: row k of its weight, and its bias, is
    the embedding of unit k. Zeros, which stand for no speech (R, guidance), leave the bias alone: the null
    symbol.

    Args:
        path: folder of ``python -m common.speech_units.fit``.
        device: where the network below the codebook runs.

    Raises:
        UserError: there is none, or it is damaged.
    """

    name = "units"
    silence = SilenceRule.apart  # HuBERT hears the whole recording
    travels = True
    chunkings = ("overlap",)

    def __init__(self, path: PathLike, device: torch.device | str = "cpu") -> None:
        folder = _require(path)
        settings = _settings(folder)
        try:
            self._centres = safetensors.numpy.load_file(folder / CODEBOOK_FILE)["centres"]
        except (OSError, SafetensorError, KeyError) as error:
            raise UserError(f"{folder / CODEBOOK_FILE} cannot be read ({error}); restore it.") from error
        self._source = open_source(settings["source"], folder / SOURCE_FOLDER, settings["layer"], device)
        self._fingerprint = _fingerprint(folder, settings)

    @classmethod
    def of(cls, config: SpeechConfig, device: torch.device | str) -> UnitEncoder:
        return cls(config.path, device)

    @classmethod
    def fingerprint_of(cls, config: SpeechConfig) -> str:
        folder = _require(config.path)
        return _fingerprint(folder, _settings(folder))

    @property
    def channels(self) -> int:
        return len(self._centres)

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    def encode(self, audio: Audio) -> Features:
        """(samples,) at 16 kHz -> (ceil(samples / 320), clusters) of 0 and 1."""
        units = nearest(self._source.encode(audio), self._centres)
        features = np.zeros((len(units), self.channels), np.float32)
        features[np.arange(len(units)), units] = 1
        return features


def nearest(features: Features, centres: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """(T, C) features and (K, C) centres -> (T,) the number of the centre that is nearest to each."""
    offset = np.square(centres).sum(axis=1)
    pieces = [features[start : start + _ROWS] for start in range(0, len(features), _ROWS)]
    return np.concatenate([(offset - 2 * piece @ centres.T).argmin(axis=1) for piece in pieces])


def _settings(folder: Path) -> dict[str, Any]:
    found = read_json(folder / SETTINGS_FILE)
    if not isinstance(found, dict) or found.get("source") not in SOURCES or "layer" not in found:
        raise UserError(f"{folder / SETTINGS_FILE}: damaged or made by hand; fit the units again.")
    return found


def _fingerprint(folder: Path, settings: dict[str, Any]) -> str:
    source = source_fingerprint(settings["source"], folder / SOURCE_FOLDER, settings["layer"])
    return fingerprint([UnitEncoder.name, 1, sha256_file(folder / CODEBOOK_FILE), source])


def _require(path: PathLike) -> Path:
    folder = Path(path)
    if not path or not all((folder / name).is_file() for name in (CODEBOOK_FILE, SETTINGS_FILE)):
        raise UserError(
            f"There are no speech units in '{path}': fit them with `python -m common.speech_units.fit` and "
            "set speech.path to their folder."
        )
    return folder
