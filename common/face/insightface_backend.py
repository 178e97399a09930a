"""insightface: detector, 68 landmarks with depth and ArcFace identity, where a model pack is installed."""

from __future__ import annotations

from typing import Any

import numpy as np

from common.errors import UserError
from common.face.model_pack import DEFAULT_PACK, find_pack
from common.face.types import FaceObservation, ImageArray, landmarks_box
from common.files import PathLike

_LANDMARKS = "landmark_3d_68"


class InsightfaceDetector:
    """``FaceAnalysis`` with a pack such as ``buffalo_l`` (its weights are for non-commercial use only).

    Args:
        pack: name of the pack.
        root: folder that holds ``models/<pack>``; empty = ``~/.insightface``.
        det_size: side in pixels of the square that the detector sees.
        min_confidence: of the detector, in (0, 1).
        max_faces: at most this many faces per picture.
        identity: also compute the ArcFace embedding (about a third of the time).
        device: "cpu" or "cuda".

    Raises:
        UserError: the pack is missing or has no detector or no 68-point model.
    """

    name = "insightface"

    def __init__(
        self,
        pack: str = DEFAULT_PACK,
        root: PathLike = "",
        det_size: int = 640,
        min_confidence: float = 0.5,
        max_faces: int = 4,
        identity: bool = True,
        device: str = "cpu",
    ) -> None:
        folder = find_pack(pack, root)
        from insightface.app import FaceAnalysis

        wanted = ["detection", _LANDMARKS, *(["recognition"] if identity else [])]
        providers = ["CPUExecutionProvider"] if device == "cpu" else ["CUDAExecutionProvider"]
        try:
            # A path instead of a name keeps insightface from looking for a download.
            self._app = FaceAnalysis(name=str(folder), allowed_modules=wanted, providers=providers)
        except AssertionError as error:
            raise UserError(
                f"The insightface model pack '{folder}' holds no face detector: install the whole pack."
            ) from error
        if _LANDMARKS not in self._app.models:
            raise UserError(
                f"The insightface model pack '{folder}' holds no 68-point landmark model (1k3d68.onnx): "
                "install the whole pack."
            )
        context = -1 if device == "cpu" else 0
        self._app.prepare(ctx_id=context, det_thresh=min_confidence, det_size=(det_size, det_size))
        self._max_faces = max_faces

    def reset(self) -> None:
        """Nothing is carried from frame to frame."""

    def new_shot(self) -> None:
        """Nothing is carried from frame to frame."""

    def detect(self, image: ImageArray) -> list[FaceObservation]:
        """Faces of an RGB picture, largest first; see :class:`common.face.types.FaceDetector`."""
        faces = [_observe(face) for face in self._app.get(np.ascontiguousarray(image[..., ::-1]))]
        faces.sort(key=lambda face: -float((face.box[2:] - face.box[:2]).prod()))
        return faces[: self._max_faces]


def _observe(face: Any) -> FaceObservation:
    points = np.asarray(face[_LANDMARKS], np.float32)
    embedding = None
    if face.embedding is not None:
        vector = np.asarray(face.embedding, np.float32)
        embedding = vector / max(float(np.linalg.norm(vector)), 1e-6)
    return FaceObservation(landmarks_box(points), points, float(face.det_score), embedding)
