"""Speech as the lips that say it: the features of small models that see few hours of video.

A picture model that is given spectra must learn from pixels which sound belongs to which lips. Here a
:class:`~common.lip_shapes.model.LipShapePredictor` has learnt that from landmarks, and the features are the
mouth shapes it expects. While training the same features can be measured on the clip itself
(:func:`true_lip_features`): pixels then follow them closely, and later show what the predictor expects.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from common.arithmetic import one_thread
from common.errors import UserError
from common.face.mouth import LIP_GAPS, LIP_SHAPE, lip_shape
from common.files import PathLike, fingerprint, sha256_file
from common.lip_shapes.network import load_lip_shape_predictor
from common.models.plain_network import CONFIG_FILE, WEIGHTS_FILE
from common.speech.base import Audio, Features, SilenceRule
from common.speech.config import SpeechConfig
from common.speech.mel import MelEncoder
from common.speech.registry import LIP_SHAPES
from common.speech.windows import FEATURES_PER_FRAME, stored_margin

CHANNELS = len(LIP_SHAPE) + 1
"""The shape and a constant 1: the zeros that stand for no speech (R, guidance) are no closed mouth."""
_CHUNK = 3000  # features (one minute) that are read at once
_CONTEXT = 100
"""Further features on each side: what is farther away, a predictor has forgotten."""
_EDGE = 24
"""Features that a recording goes on beyond its ends, as it was there: so do the clips of the training."""


class LipEncoder:
    """Predicted lip shapes at 50 Hz: (T, 8) of :data:`common.face.mouth.LIP_SHAPE` and 1.

    Args:
        path: folder of a :class:`~common.lip_shapes.model.LipShapePredictor`.
        device: where it runs.

    Raises:
        UserError: there is none, or it cannot be loaded.
    """

    name = LIP_SHAPES
    channels = CHANNELS
    silence = SilenceRule.together
    travels = True
    chunkings = ("overlap",)  # a minute at a time, with what was heard before and after

    def __init__(self, path: PathLike, device: torch.device | str = "cpu") -> None:
        folder = _require(path)
        predictor = load_lip_shape_predictor(folder)
        self._mel = MelEncoder()
        if predictor.bands != self._mel.channels:
            raise UserError(
                f"{folder}: the lip-shape predictor takes {predictor.bands} bands, not {self._mel.channels}."
            )
        self._device = torch.device(device)
        self._predictor = predictor.to(self._device)
        self._fingerprint = _fingerprint(folder)

    @classmethod
    def of(cls, config: SpeechConfig, device: torch.device | str) -> LipEncoder:
        return cls(config.path, device)

    @classmethod
    def fingerprint_of(cls, config: SpeechConfig) -> str:
        return _fingerprint(_require(config.path))

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    def encode(self, audio: Audio) -> Features:
        """(samples,) at 16 kHz -> (ceil(samples / 320), 8)."""
        return lip_features(read_recording(self._mel.encode(audio), self._read))

    @torch.inference_mode()
    def _read(self, mel: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        with one_thread():
            return self._predictor.calibrated(torch.from_numpy(mel)[None].to(self._device))[0].cpu().numpy()


def read_recording(
    features: Features, read: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]
) -> Features:
    """What a lip-shape predictor says of a whole recording, a minute at a time.

    Args:
        features: (T, B), its input.
        read: (t, B) -> (t, 7) of a stretch.

    Returns:
        (T, 7).
    """
    parts, count = [], len(features)
    for start in range(0, count, _CHUNK):
        stop = min(start + _CHUNK, count)
        first, last = max(-_EDGE, start - _CONTEXT), min(count + _EDGE, stop + _CONTEXT)
        # Only a minute is copied.
        edges = (max(0, -first), max(0, last - count))
        heard = np.pad(features[max(0, first) : last], (edges, (0, 0)), mode="edge")
        parts.append(read(heard)[start - first : stop - first])
    return np.concatenate(parts)


def lip_features(shapes: npt.NDArray[np.floating[Any]]) -> Features:
    """(T, 7) shapes -> (T, 8) features."""
    features = np.ones((len(shapes), CHANNELS), np.float32)
    features[:, :-1] = shapes
    # Lips do not pass through each other.
    features[:, :LIP_GAPS] = features[:, :LIP_GAPS].clip(min=0)
    return features


def true_lip_features(landmarks: Tensor, predicted: Tensor) -> Tensor:
    """The features of a clip whose lips are known.

    Args:
        landmarks: (N, 68, 2 or 3) of its frames; NaN where there is no face.
        predicted: (T, 8) features of its sound, with margins on both sides, where they stay.

    Returns:
        (T, 8). Frames without a face keep what was predicted.
    """
    frames = len(landmarks)
    start = FEATURES_PER_FRAME * stored_margin(len(predicted), frames)
    shapes = lip_shape(landmarks.numpy())
    # The middle of frame i lies between its two features.
    at = (np.arange(FEATURES_PER_FRAME * frames) - 0.5) / FEATURES_PER_FRAME
    known = np.isfinite(shapes).all(axis=1)
    if not known.any():
        return predicted
    curves = [np.interp(at, np.flatnonzero(known), shapes[known, i]) for i in range(shapes.shape[1])]
    true = torch.from_numpy(lip_features(np.stack(curves, axis=1))).to(predicted)
    seen = torch.from_numpy(np.repeat(known, FEATURES_PER_FRAME))
    result = predicted.clone()
    inside = slice(start, start + len(true))
    result[inside] = torch.where(seen[:, None], true, predicted[inside])
    return result


def require_true_lips(share: float, speech: SpeechConfig) -> float:
    """``train.true_lips``, if the features are lips. Raises UserError where they are not."""
    if share and speech.encoder != LIP_SHAPES:
        raise UserError(
            f"train.true_lips puts measured lips in the place of predicted ones, but speech.encoder is "
            f"{speech.encoder}: set train.true_lips=0."
        )
    return share


def _fingerprint(folder: Path) -> str:
    files = [sha256_file(folder / name) for name in (CONFIG_FILE, WEIGHTS_FILE)]
    return fingerprint([LIP_SHAPES, 1, MelEncoder().fingerprint, *files])


def _require(path: PathLike) -> Path:
    folder = Path(path)
    if not path or not all((folder / name).is_file() for name in (CONFIG_FILE, WEIGHTS_FILE)):
        raise UserError(
            f"There is no lip-shape predictor in '{path}': train one with "
            "`python -m common.lip_shapes.train` and set speech.path to its folder."
        )
    return folder
