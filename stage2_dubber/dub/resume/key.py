"""What the pictures of a dub depend on, in one number: work of another job is not gone on with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from common.files import fingerprint, sampled_digest
from common.models.speed import SpeedConfig
from stage2_dubber.dub.request import DubRequest

# Fields of a request that change nothing in the pictures.
_BESIDE = ("output", "overwrite", "report", "provenance", "consent", "c2pa_cert", "c2pa_key")
_PICTURES = ("contact_sheet", "side_by_side")  # whether and in what form they are made counts
_PROGRAMS = ("bootdub", "torch", "av", "numpy", "opencv-contrib-python", "mediapipe")


def job_key(request: DubRequest, said: np.ndarray, model: Any, painter: Path | None = None) -> str:
    """Fingerprint of all that the pieces of a dub depend on.

    Args:
        request: the job. Every field counts but those that say where outputs lie and what they say of
            themselves; of files that are named name, size, date and samples of the content.
        said: (samples,) int16 of the speech; with cues more than the request's own file.
        model: what says which model it is and how it is computed.
        painter: folder of the painter of insides of mouths, where the job may need one.

    Raises:
        UserError: an input cannot be read.
    """
    asked: dict[str, Any] = {}
    for item in fields(request):
        value = getattr(request, item.name)
        if item.name in _BESIDE:
            continue
        if item.name in _PICTURES:
            value = None if value is None else Path(value).suffix.lower()
        elif item.name == "refine":
            value = None if value is None else sampled_digest(_files(value))
        elif isinstance(value, Path) or (item.name == "face" and request.face_choice.file is not None):
            value = _digest(Path(value))
        asked[item.name] = value
    spoken = hashlib.sha256(np.ascontiguousarray(said).data).hexdigest()
    paints = None if painter is None else sampled_digest(_files(painter))
    return fingerprint([asked, spoken, request.output.suffix.lower(), model, paints, _versions()])


def model_identity(folder: Path, device: object, dtype: object, speed: SpeedConfig | None) -> list[Any]:
    """Which model it is and how it is computed, for :func:`job_key`.

    Args:
        folder: of its package.
        device, dtype: of torch, where and in what it computes.
        speed: switches; None: exact.

    Raises:
        UserError: a file of the package cannot be read.
    """
    return [sampled_digest(_files(folder)), str(device), str(dtype), speed or SpeedConfig()]


def faces_key(request: DubRequest, detector: str, options: Mapping[str, Any]) -> str:
    """Fingerprint of what a face detector sees in a video.

    Args:
        detector, options: of :func:`common.face.build_detector`.

    Raises:
        UserError: an input cannot be read.
    """
    looks = {name: _digest(Path(x)) if name == "track_file" else x for name, x in options.items()}
    return fingerprint([_digest(request.video), detector, looks, _versions()])


@cache
def _versions() -> list[str]:
    return [version(name) for name in _PROGRAMS]


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _digest(path: Path) -> list[Any]:
    return [sampled_digest([path]), path.stat().st_mtime_ns]
