"""What small networks learn from: a Whisper encoder as an ONNX file, and predictors that use its features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common.errors import UserError
from common.files import PathLike, fingerprint, sha256_file
from common.lip_shapes.encoder import read_recording
from common.lip_shapes.network import load_lip_shape_predictor
from common.models.frozen import weight_fingerprint
from common.phonetics.config import TeacherConfig
from common.speech.base import HOP, Audio, Features, check_audio, feature_count
from common.speech.chunks import overlapping_chunks
from common.speech.mel import MelEncoder
from common.speech.whisper_mel import COLUMNS_PER_FEATURE, whisper_filters, whisper_log_mel


class OnnxWhisper:
    """Features of one tensor inside a Whisper encoder, at 50 Hz.

    Args:
        path: ONNX file; its first input is (1, bands, 2 * window) log-mel columns.
        output: name of a (1, window, channels) tensor of its graph.
        unit_variance: the sound is brought to mean 0 and variance 1 before, as the encoder was trained.

    Raises:
        UserError: the file is missing, cannot be read, or has no such tensor.
    """

    def __init__(self, path: PathLike, output: str, unit_variance: bool = True) -> None:
        self._session, self._output = _open(Path(path), output), output
        source = self._session.get_inputs()[0]
        self._input, (_, bands, columns) = source.name, source.shape
        self._window = int(columns) // COLUMNS_PER_FEATURE
        self._filters = whisper_filters(int(bands))
        self._unit_variance = unit_variance
        self.fingerprint = fingerprint(["onnx whisper", 1, sha256_file(path), output, unit_variance])

    @property
    def channels(self) -> int:
        return int(self.encode(np.zeros(HOP, np.float32)).shape[1])

    def encode(self, audio: Audio) -> Features:
        """(samples,) at 16 kHz -> (ceil(samples / 320), channels)."""
        audio = check_audio(audio)
        count = feature_count(len(audio))
        sound = np.pad(audio, (0, count * HOP - len(audio)))

        def encode(first: int, end: int) -> Features:
            # What is shorter than the window stands at its end: so does the last thing said, for a teacher
            # that detects ends of turns, and others do not mind.
            piece = np.pad(sound[HOP * first : HOP * end], (HOP * (self._window - (end - first)), 0))
            if self._unit_variance:
                piece = (piece - piece.mean()) / np.sqrt(piece.var() + 1e-7)
            mel = whisper_log_mel(torch.from_numpy(piece.astype(np.float32)), self._filters)
            (features,) = self._session.run([self._output], {self._input: mel[None].numpy()})
            return np.asarray(features[0, self._window - (end - first) :], np.float32)

        return overlapping_chunks(count, self._window, self._window // 3, encode)


def open_teacher(settings: TeacherConfig) -> OnnxWhisper:
    """The teacher that ``phonetics`` names. Raises UserError where there is none."""
    if not settings.teacher:
        raise UserError("phonetics.teacher is empty: name an ONNX file of a Whisper encoder.")
    return OnnxWhisper(settings.teacher, settings.output, settings.unit_variance)


def with_teacher(mel: Features, teacher: Features) -> Features:
    """(T, B) bands and (T, C) features of a teacher -> (T, B + C): the input of a labelling predictor."""
    return np.concatenate([mel, teacher], axis=1)


class LabellingPredictors:
    """Lip-shape predictors with teacher features, which say what lips do in speech without faces.

    Their mean is nearer to the truth than any of them: trained on few speakers, each errs in its own way.

    Raises:
        UserError: there is no predictor in one of the folders, or it takes other features.
    """

    def __init__(self, folders: Sequence[PathLike], teacher_channels: int) -> None:
        self._predictors: list[Any] = [load_lip_shape_predictor(folder) for folder in folders]
        for folder, predictor in zip(folders, self._predictors, strict=True):
            if predictor.bands != MelEncoder.channels + teacher_channels:
                raise UserError(
                    f"{folder}: the lip-shape predictor does not take teacher features: train it on those of "
                    "`python -m common.lip_shapes.label ... lip_shapes.teacher_features=true`."
                )
        self.fingerprint = fingerprint([weight_fingerprint(predictor) for predictor in self._predictors])

    def lips(self, mel: Features, teacher: Features) -> Features:
        """(T, B) bands and (T, C) teacher's features of a recording -> (T, 7) of the likeliest shapes."""
        return read_recording(with_teacher(mel, teacher), self._read)

    @torch.inference_mode()
    def _read(self, features: Features) -> Features:
        inputs = torch.from_numpy(features)[None]
        shapes = torch.cat([predictor(inputs) for predictor in self._predictors]).mean(dim=0)
        return np.asarray(shapes.numpy(), np.float32)


def _open(path: Path, output: str) -> Any:
    # Large libraries: only where a teacher is asked for.
    import onnx
    import onnxruntime
    from google.protobuf.message import DecodeError

    if not path.is_file():
        raise UserError(f"There is no ONNX file '{path}': name a Whisper encoder in phonetics.teacher.")
    try:
        model = onnx.load(path)
    except DecodeError as error:
        raise UserError(f"{path} is no ONNX file, or is damaged: download it again.") from error
    if not any(output in node.output for node in model.graph.node):
        raise UserError(
            f"{path} has no tensor '{output}': set phonetics.output to one that the encoder computes."
        )
    if output not in [existing.name for existing in model.graph.output]:
        model.graph.output.append(onnx.helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, None))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    shape = session.get_inputs()[0].shape
    if len(shape) != 3 or not all(isinstance(size, int) for size in shape[1:]):
        raise UserError(f"{path} takes {shape}, not (batch, bands, columns) log-mel: name a Whisper encoder.")
    return session
