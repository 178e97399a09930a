"""Speech features of the public model (R): Whisper and wav2vec2 side by side."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from transformers import Wav2Vec2Model, WhisperModel

from common.files import PathLike, fingerprint
from common.speech.base import HOP, Audio, Features, SilenceRule, check_audio, feature_count
from common.speech.chunks import CHUNKINGS, EncodeChunk, hard_chunks, overlapping_chunks
from common.speech.config import SpeechConfig
from common.speech.local_models import load_model, model_digest, require_model
from common.speech.recording_norm import share_norm
from common.speech.whisper_mel import whisper_filters, whisper_log_mel

_NETWORKS = ("whisper", "wav2vec2")
_WANTED = "whisper/ and wav2vec2/, each holding"

OVERLAP = 500  # features (10 s) that neighbouring windows share

_WAV2VEC2_FIELD = 400  # samples that one wav2vec2 feature sees in the convolutions


class PretrainedEncoder:
    """Whisper encoder and wav2vec2 at 50 Hz, joined on the channel axis, Whisper first.

    Whisper gives its last block's output before the final LayerNorm; wav2vec2 its last hidden state. What
    depends on the level of the sound, Whisper's dynamic range and wav2vec2's unit variance, is taken from the
    whole recording, so that windows agree. Where a network gives no feature for the end of the recording,
    which may be less than 20 ms long, its last one is repeated: the release clamps to it.

    Up to 30 s both ways of chunking are the same single pass. Beyond, "release" (R) is Whisper in abutting
    30 s windows and wav2vec2 over the whole recording, whose time and memory then grow with its square;
    "overlap" (ours) is both in windows of 30 s that share 10 s, cross-faded, and normalised over the whole
    recording: no seams, bounded memory.

    Args:
        path: folder with ``whisper/`` and ``wav2vec2/``, each as transformers saves a model (safetensors).
        device: where the two networks run.
        chunking: "overlap" or "release".

    Raises:
        UserError: a model is missing in ``path``, damaged, or of another kind.
    """

    name = "whisper+wav2vec2"
    silence = SilenceRule.apart
    travels = False
    chunkings = CHUNKINGS

    def __init__(self, path: PathLike, device: torch.device | str = "cpu", chunking: str = "overlap") -> None:
        whisper_path, wav2vec2_path = (require_model(path, name, _WANTED) for name in _NETWORKS)
        self.device = torch.device(device)
        self.chunking = chunking
        whisper = load_model(WhisperModel, whisper_path, "Whisper", part="encoder.").get_encoder()
        whisper.layer_norm = nn.Identity()  # the features are wanted before it
        # eval(): in training mode LayerDrop leaves out whole blocks.
        self._whisper = whisper.eval().requires_grad_(False).to(self.device)
        wav2vec2 = load_model(Wav2Vec2Model, wav2vec2_path, "wav2vec2")
        self._norm = share_norm(wav2vec2)
        self._wav2vec2 = wav2vec2.eval().requires_grad_(False).to(self.device)
        self._window = int(whisper.config.max_source_positions)
        self._filters = whisper_filters(int(whisper.config.num_mel_bins))
        self._fingerprint = _fingerprint(path, chunking)

    @classmethod
    def of(cls, config: SpeechConfig, device: torch.device | str) -> PretrainedEncoder:
        return cls(config.path, device, chunking=config.chunking)

    @classmethod
    def fingerprint_of(cls, config: SpeechConfig) -> str:
        return _fingerprint(config.path, config.chunking)

    @property
    def channels(self) -> int:
        return int(self._whisper.config.d_model) + int(self._wav2vec2.config.hidden_size)

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    def encode(self, audio: Audio) -> Features:
        """(samples,) at 16 kHz -> (ceil(samples / 320), Whisper channels + wav2vec2 channels)."""
        audio = check_audio(audio)
        count = feature_count(len(audio))
        mel = whisper_log_mel(torch.from_numpy(audio), self._filters)
        # wav2vec2 was trained on sound of zero mean and unit variance.
        level = (audio - audio.mean()) / np.sqrt(audio.var() + 1e-7)
        whisper, wav2vec2 = partial(self._hear_whisper, mel), partial(self._hear_wav2vec2, level)
        # How many features each network has, at least one: two columns of the spectrogram each, and as many
        # as its convolutions fit into the sound.
        counts = max(mel.shape[1] // 2, 1), max((len(audio) - _WAV2VEC2_FIELD) // HOP + 1, 1)
        if self.chunking == "release":
            parts = hard_chunks(counts[0], self._window, whisper), wav2vec2(0, counts[1])
        else:
            with self._one_norm(level, counts[1]):
                parts = self._overlapping(counts[0], whisper), self._overlapping(counts[1], wav2vec2)
        return np.concatenate([_filled(part, count) for part in parts], axis=1)

    def _overlapping(self, count: int, chunk: EncodeChunk) -> Features:
        return overlapping_chunks(count, self._window, min(OVERLAP, self._window // 3), chunk)

    def _one_norm(self, level: npt.NDArray[np.float32], count: int) -> AbstractContextManager[None]:
        if self._norm is None or count <= self._window:
            return nullcontext()
        return self._norm.over(torch.from_numpy(level).to(self.device))

    @torch.inference_mode()
    def _hear_whisper(self, mel: Tensor, first: int, end: int) -> Features:
        """(end - first, channels) from the spectrogram of the whole recording."""
        features = self._whisper(self._mel_window(mel, first)).last_hidden_state
        return features[0, : end - first].float().cpu().numpy()

    @torch.inference_mode()
    def _hear_wav2vec2(self, level: npt.NDArray[np.float32], first: int, end: int) -> Features:
        """(end - first, channels) from the sound of these features and what the last of them reaches into."""
        stop = HOP * (end - 1) + _WAV2VEC2_FIELD
        # Samples that make no further feature are encoded all the same: the network normalises over time.
        sound = level[HOP * first : stop if stop + HOP <= len(level) else None]
        sound = np.pad(sound, (0, max(0, _WAV2VEC2_FIELD - len(sound))))
        features = self._wav2vec2(torch.from_numpy(sound)[None].to(self.device)).last_hidden_state
        return features[0].float().cpu().numpy()

    def _mel_window(self, mel: Tensor, first: int) -> Tensor:
        """(1, bands, 2 * window) log-mel from feature ``first`` on; beyond the sound it is 0, as in R."""
        piece = mel[:, 2 * first : 2 * (first + self._window)]
        padding = 2 * self._window - piece.shape[1]
        return nn.functional.pad(piece, (0, padding))[None].to(self.device)


def _fingerprint(path: PathLike, chunking: str) -> str:
    parts = [model_digest(require_model(path, name, _WANTED)) for name in _NETWORKS]
    return fingerprint([PretrainedEncoder.name, 2, chunking, OVERLAP, *parts])


def _filled(features: Features, count: int) -> Features:
    """(T, C) with the last feature repeated up to ``count``."""
    return np.pad(features, ((0, count - len(features)), (0, 0)), mode="edge")
