"""The registry of face detectors."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from common.errors import UserError
from common.face.types import FaceDetector


def _mediapipe(**options: Any) -> FaceDetector:
    from common.face.mediapipe_backend import MediapipeDetector

    _check_options("mediapipe", MediapipeDetector, options)
    return MediapipeDetector(**options)


def _insightface(**options: Any) -> FaceDetector:
    from common.face.insightface_backend import InsightfaceDetector

    _check_options("insightface", InsightfaceDetector, options)
    return InsightfaceDetector(**options)


def _box(**options: Any) -> FaceDetector:
    from common.face.box_backend import BoxDetector

    _check_options("box", BoxDetector, options)
    return BoxDetector(**options)


# Backends are imported when asked for: each pulls in a heavy library that the others do not need.
BACKENDS: dict[str, Callable[..., FaceDetector]] = {
    "mediapipe": _mediapipe,
    "insightface": _insightface,
    "box": _box,
}


def _check_options(name: str, detector: type, options: dict[str, Any]) -> None:
    known = [p for p in inspect.signature(detector).parameters if p != "self"]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise UserError(
            f"The face detector '{name}' has no option '{unknown[0]}': it knows {', '.join(known)}."
        )


def build_detector(name: str = "mediapipe", **options: Any) -> FaceDetector:
    """Make a face detector.

    Args:
        name: "mediapipe" (works offline, the default), "insightface" (needs its model pack; also gives an
            identity embedding) or "box" (the user's own boxes or track, for faces that no detector finds).
        options: the backend's own; see the backend's class.

    Raises:
        UserError: unknown backend or option, or what the backend needs is not installed.
    """
    if name not in BACKENDS:
        raise UserError(f"There is no face detector '{name}': choose one of {', '.join(BACKENDS)}.")
    return BACKENDS[name](**options)
