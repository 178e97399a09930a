"""Who somebody is, as a vector: ArcFace through insightface."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from common.face.layout import ARCFACE_POINTS
from common.face.model_pack import DEFAULT_PACK, find_pack
from common.face.types import FloatArray, ImageArray
from common.files import PathLike, sha256_file


def recognition_model(
    pack: str = DEFAULT_PACK, root: PathLike = "", device: str = "cpu", **words: str
) -> Any:
    """insightface's ArcFace model of a pack: its ``model_file``, input size and range, and its session.

    ``words``: see :func:`find_pack`.

    Raises:
        UserError: the pack is missing, has a damaged file, or holds no recognition model.
    """
    folder = find_pack(pack, root, **words)
    from insightface.model_zoo import get_model
    from onnxruntime import get_available_providers
    from onnxruntime.capi import onnxruntime_pybind11_state as onnxruntime

    damaged = (
        onnxruntime.Fail,
        onnxruntime.InvalidArgument,
        onnxruntime.InvalidGraph,
        onnxruntime.InvalidProtobuf,
    )
    providers = ["CPUExecutionProvider"]
    # The usual build of onnxruntime has no CUDA, and says so at length when it is asked for it.
    if device != "cpu" and "CUDAExecutionProvider" in get_available_providers():
        providers.insert(0, "CUDAExecutionProvider")
    for file in sorted(folder.glob("*.onnx")):
        try:
            model = get_model(str(file), providers=providers)
        except damaged as error:
            raise UserError(f"The face network '{file}' is damaged: unpack the model pack again.") from error
        if model is not None and model.taskname == "recognition":
            return model
    raise UserError(
        f"The insightface model pack '{folder}' holds no recognition model (w600k_r50.onnx): "
        "install the whole pack."
    )


class IdentityEncoder:
    """ArcFace embeddings of faces whose landmarks are known.

    Args:
        pack: insightface model pack.
        root: folder that holds ``models/<pack>``; empty = ``~/.insightface``.
        device: "cpu" or "cuda"; the latter where onnxruntime can compute there, else the CPU.

    Raises:
        UserError: the pack is missing or holds no recognition model.
    """

    def __init__(self, pack: str = DEFAULT_PACK, root: PathLike = "", device: str = "cpu") -> None:
        self._model = recognition_model(pack, root, device)

    @cached_property
    def fingerprint(self) -> str:
        """Of the network's file: other weights, other embeddings."""
        return sha256_file(self._model.model_file)[:16]

    def embed(self, image: ImageArray, landmarks: NDArray[np.floating]) -> FloatArray:
        """Unit embedding (D,) float32 of the face with ``landmarks`` (68, 2 or 3) in an RGB picture."""
        from insightface.utils import face_align

        points = np.stack([landmarks[list(part), :2].mean(axis=0) for part in ARCFACE_POINTS])
        aligned = face_align.norm_crop(
            np.ascontiguousarray(image[..., ::-1]), points.astype(np.float32), self._model.input_size[0]
        )
        vector = np.asarray(self._model.get_feat(aligned), np.float32).ravel()
        return vector / max(float(np.linalg.norm(vector)), 1e-6)


def identity_similarity(a: FloatArray, b: FloatArray) -> float:
    """Cosine of two embeddings, -1 to 1 (P: companions need >= 0.85)."""
    return float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-6))
