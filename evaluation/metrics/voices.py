"""Networks that hear whose voice it is and what is said: transformers' models from local folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError

from common.errors import UserError
from common.files import PathLike, fingerprint
from common.media import SAMPLE_RATE
from common.models.frozen import freeze, weight_fingerprint

Sound = NDArray[np.float32]

PIECE = 10 * SAMPLE_RATE
"""Samples of which one embedding is made: attention over minutes of sound does not fit into memory."""

WINDOW = 30 * SAMPLE_RATE
"""Samples that Whisper hears at once."""


class SpeakerEncoder(Protocol):
    """Whose voice it is, as a vector."""

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...

    def embed(self, sound: Sound) -> NDArray[np.floating]:
        """(samples,) float32 mono at 16 kHz, at least half a second -> (D,)."""
        ...


class Transcriber(Protocol):
    """What is said."""

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...

    def transcribe(self, sound: Sound) -> str:
        """(samples,) float32 mono at 16 kHz -> text, in the language that is spoken."""
        ...


class XVectorEncoder:
    """A speaker-verification model of transformers (WavLM-SV, wav2vec2-SV, UniSpeech-SAT-SV).

    Args:
        folder: save_pretrained folder of a ``...ForXVector`` model with its preprocessor_config.json.
        device: where it runs.

    Raises:
        UserError: no such model there, or one that lacks weights.
    """

    def __init__(self, folder: PathLike, device: str = "cpu") -> None:
        # Takes seconds, which an evaluation without this network should not wait for.
        from transformers import AutoFeatureExtractor, AutoModelForAudioXVector

        self._model = _load(AutoModelForAudioXVector, Path(folder), "speaker encoder").to(device)
        self._extractor = _load_part(AutoFeatureExtractor, Path(folder), "speaker encoder")
        self._device = device
        self.name = f"{self._model.config.model_type}-sv"
        self.fingerprint = fingerprint(
            [self.name, PIECE, self._extractor.to_dict(), weight_fingerprint(self._model)]
        )

    def embed(self, sound: Sound) -> NDArray[np.floating]:
        """Mean of the unit embeddings of pieces of ten seconds, (D,); a short rest joins the piece before."""
        count = max(round(len(sound) / PIECE), 1)
        vectors = []
        for piece in np.array_split(sound, count):
            inputs = self._extractor(piece, sampling_rate=SAMPLE_RATE, return_tensors="pt").to(self._device)
            with torch.inference_mode():
                vectors.append(torch.nn.functional.normalize(self._model(**inputs).embeddings[0], dim=-1))
        return np.asarray(torch.stack(vectors).mean(dim=0).float().cpu().numpy())


class WhisperTranscriber:
    """Whisper of transformers. It finds the language itself and hears sounds of any length.

    Args:
        folder: save_pretrained folder of a Whisper model with its tokenizer and preprocessor_config.json.
        device: where it runs.

    Raises:
        UserError: no such model there, or one that lacks weights.
    """

    def __init__(self, folder: PathLike, device: str = "cpu") -> None:
        # See XVectorEncoder.
        from transformers import AutoFeatureExtractor, AutoTokenizer, WhisperForConditionalGeneration
        from transformers.pipelines import AutomaticSpeechRecognitionPipeline

        path, what = Path(folder), "Whisper"
        model = _load(WhisperForConditionalGeneration, path, what)
        self._pipeline: Any = AutomaticSpeechRecognitionPipeline(
            model=model,
            tokenizer=_load_part(AutoTokenizer, path, what),
            feature_extractor=_load_part(AutoFeatureExtractor, path, what),
            device=torch.device(device),
        )
        self._options: dict[str, Any] = {"num_beams": 1, "do_sample": False}
        if getattr(model.generation_config, "is_multilingual", False):
            # The English models refuse to be told; the others might translate.
            self._options["task"] = "transcribe"
        self.name = "whisper"
        self.fingerprint = fingerprint([self.name, weight_fingerprint(model)])

    def transcribe(self, sound: Sound) -> str:
        found = self._pipeline(
            {"raw": np.asarray(sound, np.float32), "sampling_rate": SAMPLE_RATE},
            # Longer sounds are transcribed window by window, each from the last time stamp of the one before.
            return_timestamps=len(sound) > WINDOW,
            generate_kwargs=dict(self._options),
        )
        return str(found["text"]).strip()


def _load(kind: Any, folder: Path, what: str) -> Any:
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder}: holds no {what} (no config.json): give a folder of save_pretrained.")
    try:
        model, info = kind.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            weights_only=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{folder}: cannot be loaded as a {what} ({reason}).") from error
    missing = sorted(info["missing_keys"])
    if missing:
        raise UserError(f"{folder}: is no whole {what}, it lacks the key '{missing[0]}': download it again.")
    return freeze(model)


def _load_part(kind: Any, folder: Path, what: str) -> Any:
    try:
        return kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{folder}: lacks a part that {what} needs ({reason}): download it whole.") from error
