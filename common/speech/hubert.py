"""HuBERT features of the public TBDub release (R): four hidden layers side by side, channel by channel."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from transformers import HubertModel

from common.errors import UserError
from common.files import PathLike, fingerprint
from common.speech.base import HOP, Audio, Features, SilenceRule, check_audio
from common.speech.chunks import CHUNKINGS, hard_chunks, overlapping_chunks
from common.speech.config import SpeechConfig
from common.speech.local_models import load_model, model_digest, require_model

LAYERS = (9, 10, 11, 12)
"""Of ``hidden_states``, where 0 is what enters the first block."""
TAIL = 77 * 2 * HOP
"""Samples that follow the recording before it is scaled: one window of the release."""
FADE = 160
"""Samples of the tail that lead from the last sample to 0."""
FIELD = 400
"""Samples that one feature sees in the convolutions."""
_WINDOW, _OVERLAP = 3000, 500  # features: 60 s and 10 s
_WANTED = "hubert/, which holds"


class HubertEncoder:
    """Hidden states 9 to 12 of a HuBERT model at 50 Hz; the layer runs fastest on the channel axis.

    A recording is followed by a straight line to 0 and silence, together 77 video frames, and scaled to zero
    mean and unit variance with that tail, as the release does. The features of the tail are returned, too:
    windows that reach beyond the speech see them, and further ones the last of them.

    Up to 60 s both ways of chunking are the same single pass. Beyond, "release" (R) is still one pass, whose
    time and memory grow with the square of the recording; "overlap" (ours) is windows of 60 s that share
    10 s and are cross-faded.

    Args:
        path: folder with ``hubert/``, as transformers saves a model (safetensors).
        device: where the network runs.
        chunking: "overlap" or "release".

    Raises:
        UserError: the model is missing, damaged, of another kind, or has fewer than 12 layers.
    """

    name = "hubert"
    silence = SilenceRule.own
    travels = False
    chunkings = CHUNKINGS

    def __init__(self, path: PathLike, device: torch.device | str = "cpu", chunking: str = "overlap") -> None:
        folder = require_model(path, "hubert", _WANTED)
        model = load_model(HubertModel, folder, "HuBERT")
        if model.config.num_hidden_layers < max(LAYERS):
            raise UserError(
                f"{folder}: the HuBERT model has {model.config.num_hidden_layers} layers, but the features "
                f"are those of layer {LAYERS[0]} to {LAYERS[-1]}: name a larger one."
            )
        self.device = torch.device(device)
        self.chunking = chunking
        # eval(): in training mode LayerDrop leaves out whole blocks.
        self._model = model.eval().requires_grad_(False).to(self.device)
        self._fingerprint = _fingerprint(path, chunking)

    @classmethod
    def of(cls, config: SpeechConfig, device: torch.device | str) -> HubertEncoder:
        return cls(config.path, device, chunking=config.chunking)

    @classmethod
    def fingerprint_of(cls, config: SpeechConfig) -> str:
        return _fingerprint(config.path, config.chunking)

    @property
    def channels(self) -> int:
        return int(self._model.config.hidden_size) * len(LAYERS)

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    def encode(self, audio: Audio) -> Features:
        """(samples,) at 16 kHz -> (ceil(samples / 320) or more, channels): those of the tail come after."""
        sound = with_tail(check_audio(audio))
        level = (sound - sound.mean()) / np.sqrt(sound.var() + 1e-7)
        count = (len(level) - FIELD) // HOP + 1

        def encode(first: int, end: int) -> Features:
            return self._hidden(level[HOP * first : HOP * (end - 1) + FIELD])

        if self.chunking == "release":
            return hard_chunks(count, count, encode)
        return overlapping_chunks(count, _WINDOW, _OVERLAP, encode)

    @torch.inference_mode()
    def _hidden(self, sound: npt.NDArray[np.float32]) -> Features:
        inputs = torch.from_numpy(np.ascontiguousarray(sound))[None].to(self.device)
        states = self._model(inputs, output_hidden_states=True).hidden_states
        stacked = torch.stack([states[layer][0] for layer in LAYERS], dim=-1)
        return stacked.flatten(1).float().cpu().numpy()


def with_tail(audio: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(samples,) -> (samples + 49280,): a straight line from the last sample to 0, then zeros."""
    tail = np.zeros(TAIL, np.float32)
    tail[:FADE] = audio[-1] * (1 - np.arange(1, FADE + 1, dtype=np.float32) / FADE)
    return np.concatenate([audio, tail])


def _fingerprint(path: PathLike, chunking: str) -> str:
    digest = model_digest(require_model(path, "hubert", _WANTED))
    return fingerprint([HubertEncoder.name, 1, chunking, _WINDOW, _OVERLAP, digest])
